"""Rows that are written once cannot be replaced or emptied away either; what forbids it is a broken constraint."""

from alembic import op

from federation.migrations.triggers import close_holes

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    close_holes("audit", "seq = NEW.seq")
    close_holes(
        "entry",
        "seq = NEW.seq",
        "hold_id = NEW.hold_id AND coalesce(grant_id, '') = coalesce(NEW.grant_id, '') AND kind = NEW.kind "
        "AND kind IN ('release', 'charge', 'overrun')",
    )
    close_holes("rate_table", "version = NEW.version AND flavour = NEW.flavour")
    close_holes("grant", "id = NEW.id", '"key" = NEW."key"')
    if op.get_context().dialect.name == "postgresql":
        for table, but in {"audit": None, "entry": None, "rate_table": None, "grant": "revoked_at"}.items():
            _say_that_it_is_a_constraint(table, but)


def _say_that_it_is_a_constraint(table: str, but: str | None) -> None:
    """Version 1 raised without a code of its own, which programs take for an error inside the server."""
    same = f"to_jsonb(OLD) - '{but}' = to_jsonb(NEW) - '{but}'" if but is not None else "false"
    op.execute(
        f'CREATE OR REPLACE FUNCTION "{table}_is_kept"() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN '
        f"IF TG_OP = 'UPDATE' THEN IF {same} THEN RETURN NEW; END IF; END IF; "
        f"RAISE EXCEPTION 'rows of {table} are never changed' USING ERRCODE = 'integrity_constraint_violation'; END $$"
    )
