SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;
CREATE FUNCTION public.audit_is_kept() RETURNS trigger
    LANGUAGE plpgsql
    AS $$ BEGIN IF TG_OP = 'UPDATE' AND false THEN RETURN NEW; END IF; RAISE EXCEPTION 'rows of audit are never changed'; END $$;
CREATE FUNCTION public.entry_is_kept() RETURNS trigger
    LANGUAGE plpgsql
    AS $$ BEGIN IF TG_OP = 'UPDATE' AND false THEN RETURN NEW; END IF; RAISE EXCEPTION 'rows of entry are never changed'; END $$;
CREATE FUNCTION public.grant_is_kept() RETURNS trigger
    LANGUAGE plpgsql
    AS $$ BEGIN IF TG_OP = 'UPDATE' AND to_jsonb(OLD) - 'revoked_at' = to_jsonb(NEW) - 'revoked_at' THEN RETURN NEW; END IF; RAISE EXCEPTION 'rows of grant are never changed'; END $$;
CREATE FUNCTION public.rate_table_is_kept() RETURNS trigger
    LANGUAGE plpgsql
    AS $$ BEGIN IF TG_OP = 'UPDATE' AND false THEN RETURN NEW; END IF; RAISE EXCEPTION 'rows of rate_table are never changed'; END $$;
SET default_tablespace = '';
SET default_table_access_method = heap;
CREATE TABLE public.account (
    id bigint NOT NULL,
    owner_kind character varying(16) NOT NULL,
    owner_ref character varying(255) NOT NULL,
    unit character varying(32) NOT NULL
);
CREATE SEQUENCE public.account_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.account_id_seq OWNED BY public.account.id;
CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);
CREATE TABLE public.audit (
    seq bigint NOT NULL,
    at timestamp without time zone NOT NULL,
    act character varying(64) NOT NULL,
    actor character varying(256) NOT NULL,
    target character varying(256) NOT NULL,
    reason character varying(2000) NOT NULL,
    details json NOT NULL
);
CREATE SEQUENCE public.audit_seq_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.audit_seq_seq OWNED BY public.audit.seq;
CREATE TABLE public.balance (
    account_id bigint NOT NULL,
    granted bigint NOT NULL,
    used bigint NOT NULL,
    held bigint NOT NULL,
    generation bigint NOT NULL,
    CONSTRAINT ck_balance_held CHECK ((held >= 0)),
    CONSTRAINT ck_balance_used CHECK ((used >= 0))
);
CREATE TABLE public.entry (
    seq bigint NOT NULL,
    account_id bigint NOT NULL,
    hold_id character varying(36),
    grant_id character varying(36),
    kind character varying(16) NOT NULL,
    amount bigint NOT NULL,
    at timestamp without time zone NOT NULL,
    actor character varying(256) NOT NULL,
    reason character varying(2000) NOT NULL
);
CREATE SEQUENCE public.entry_seq_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.entry_seq_seq OWNED BY public.entry.seq;
CREATE TABLE public."grant" (
    id character varying(36) NOT NULL,
    key character varying(255) NOT NULL,
    account_id bigint NOT NULL,
    amount bigint NOT NULL,
    starts_at timestamp without time zone NOT NULL,
    ends_at timestamp without time zone NOT NULL,
    priority integer NOT NULL,
    request_id character varying(36),
    class_id character varying(36),
    created_by character varying(256) NOT NULL,
    created_at timestamp without time zone NOT NULL,
    reason character varying(2000) NOT NULL,
    revoked_at timestamp without time zone,
    follows character varying(36),
    CONSTRAINT ck_grant_amount CHECK ((amount > 0)),
    CONSTRAINT ck_grant_times CHECK ((ends_at > starts_at))
);
CREATE TABLE public.grant_balance (
    grant_id character varying(36) NOT NULL,
    account_id bigint NOT NULL,
    amount bigint NOT NULL,
    charged bigint NOT NULL,
    lapsed bigint NOT NULL,
    CONSTRAINT ck_grant_balance CHECK (((charged >= 0) AND (lapsed >= 0) AND ((charged + lapsed) <= amount)))
);
CREATE TABLE public.hold (
    id character varying(36) NOT NULL,
    account_id bigint NOT NULL,
    amount bigint NOT NULL,
    rate_version integer NOT NULL,
    weight_milli bigint NOT NULL,
    flavour character varying(40) NOT NULL,
    gauge_sessions integer NOT NULL,
    gauge_cpu integer NOT NULL,
    gauge_memory_mib integer NOT NULL,
    gauge_gpu integer NOT NULL,
    state character varying(16) NOT NULL,
    reserved_at timestamp without time zone NOT NULL,
    lease_until timestamp without time zone NOT NULL,
    hub character varying(255) NOT NULL,
    "user" character varying(255) NOT NULL,
    server character varying(255) NOT NULL,
    site character varying(40) NOT NULL,
    backend_ref character varying(255),
    started_at timestamp without time zone,
    ended_at timestamp without time zone,
    charged bigint,
    source character varying(64),
    CONSTRAINT ck_hold_amount CHECK ((amount > 0))
);
CREATE TABLE public.person (
    id character varying(36) NOT NULL,
    issuer character varying(512) NOT NULL,
    subject character varying(512) NOT NULL,
    user_name character varying(64) NOT NULL,
    facts json NOT NULL,
    facts_at timestamp without time zone NOT NULL,
    created_at timestamp without time zone NOT NULL
);
CREATE TABLE public.rate_table (
    version integer NOT NULL,
    flavour character varying(40) NOT NULL,
    weight_milli bigint NOT NULL,
    valid_from timestamp without time zone NOT NULL,
    CONSTRAINT ck_rate_weight CHECK ((weight_milli > 0))
);
CREATE TABLE public.session (
    attempt character varying(36) NOT NULL,
    session_id character varying(36) NOT NULL,
    hub character varying(255) NOT NULL,
    "user" character varying(255) NOT NULL,
    server character varying(255) NOT NULL,
    person_id character varying(36) NOT NULL,
    site character varying(40) NOT NULL,
    flavour character varying(40) NOT NULL,
    environment character varying(40) NOT NULL,
    options json NOT NULL,
    state character varying(16) NOT NULL,
    secret_hash character varying(64) NOT NULL,
    nonce character varying(64),
    exchanged_at timestamp without time zone,
    token_ids json NOT NULL,
    backend_ref character varying(255),
    host character varying(255),
    port integer,
    created_at timestamp without time zone NOT NULL,
    submitted_at timestamp without time zone,
    started_at timestamp without time zone,
    ready_at timestamp without time zone,
    ended_at timestamp without time zone,
    end_reason character varying(16),
    end_detail character varying(2000)
);
ALTER TABLE ONLY public.account ALTER COLUMN id SET DEFAULT nextval('public.account_id_seq'::regclass);
ALTER TABLE ONLY public.audit ALTER COLUMN seq SET DEFAULT nextval('public.audit_seq_seq'::regclass);
ALTER TABLE ONLY public.entry ALTER COLUMN seq SET DEFAULT nextval('public.entry_seq_seq'::regclass);
INSERT INTO public.account (id, owner_kind, owner_ref, unit) VALUES (1, 'user', '01a20eea-6c4c-778d-bb4f-61fde6270d08', 'milli-unit-seconds');
INSERT INTO public.account (id, owner_kind, owner_ref, unit) VALUES (2, 'user', 'ann', 'milli-unit-seconds');
INSERT INTO public.account (id, owner_kind, owner_ref, unit) VALUES (3, 'user', 'anna', 'milli-unit-seconds');
INSERT INTO public.alembic_version (version_num) VALUES ('0001');
INSERT INTO public.audit (seq, at, act, actor, target, reason, details) VALUES (1, '2026-03-02 09:00:00', 'operator:grant:added', 'operator', '01a20eea-6c57-7141-99d1-e7e2505ba267', 'a test', '{"owner": "user:01a20eea-6c4c-778d-bb4f-61fde6270d08", "amount_milli_unit_seconds": 36000000}');
INSERT INTO public.audit (seq, at, act, actor, target, reason, details) VALUES (2, '2026-03-02 09:00:00', 'operator:grant:added', 'operator', '01a20eea-6c66-7201-8890-8cfda38444bf', 'a test', '{"owner": "user:01a20eea-6c4c-778d-bb4f-61fde6270d08", "amount_milli_unit_seconds": 600000}');
INSERT INTO public.audit (seq, at, act, actor, target, reason, details) VALUES (3, '2026-03-02 09:00:00', 'operator:grant:added', 'operator', '01a20eea-6c70-77fe-9de0-88237fa95c48', 'a test', '{"owner": "user:ann", "amount_milli_unit_seconds": 60000}');
INSERT INTO public.audit (seq, at, act, actor, target, reason, details) VALUES (4, '2026-03-02 09:00:00', 'operator:grant:added', 'operator', '01a20eea-6c77-76c6-870f-24c915479eac', 'a test', '{"owner": "user:ann", "amount_milli_unit_seconds": 900000}');
INSERT INTO public.audit (seq, at, act, actor, target, reason, details) VALUES (5, '2026-03-02 09:00:00', 'operator:grant:added', 'operator', '01a20eea-6c80-7125-b091-b4c06b1edd80', 'a test', '{"owner": "user:anna", "amount_milli_unit_seconds": 900000}');
INSERT INTO public.audit (seq, at, act, actor, target, reason, details) VALUES (6, '2026-03-02 10:11:00', 'operator:grant:revoked', 'olga', '01a20eea-6c77-76c6-870f-24c915479eac', 'by mistake: “ñ”', '{}');
INSERT INTO public.balance (account_id, granted, used, held, generation) VALUES (1, 36060000, 60000, 18450000, 11);
INSERT INTO public.balance (account_id, granted, used, held, generation) VALUES (2, 0, 0, 0, 2);
INSERT INTO public.balance (account_id, granted, used, held, generation) VALUES (3, 900000, 5400000, 0, 3);
INSERT INTO public.entry (seq, account_id, hold_id, grant_id, kind, amount, at, actor, reason) VALUES (1, 1, NULL, '01a20eea-6c57-7141-99d1-e7e2505ba267', 'grant', 36000000, '2026-03-02 09:00:00', 'operator', 'a test');
INSERT INTO public.entry (seq, account_id, hold_id, grant_id, kind, amount, at, actor, reason) VALUES (2, 1, NULL, '01a20eea-6c66-7201-8890-8cfda38444bf', 'grant', 600000, '2026-03-02 09:00:00', 'operator', 'a test');
INSERT INTO public.entry (seq, account_id, hold_id, grant_id, kind, amount, at, actor, reason) VALUES (3, 2, NULL, '01a20eea-6c77-76c6-870f-24c915479eac', 'grant', 900000, '2026-03-02 09:00:00', 'operator', 'a test');
INSERT INTO public.entry (seq, account_id, hold_id, grant_id, kind, amount, at, actor, reason) VALUES (4, 3, NULL, '01a20eea-6c80-7125-b091-b4c06b1edd80', 'grant', 900000, '2026-03-02 09:00:00', 'operator', 'a test');
INSERT INTO public.entry (seq, account_id, hold_id, grant_id, kind, amount, at, actor, reason) VALUES (5, 1, 'attempt-6', NULL, 'hold', 2700000, '2026-03-02 09:00:00', 'test', '');
INSERT INTO public.entry (seq, account_id, hold_id, grant_id, kind, amount, at, actor, reason) VALUES (6, 1, 'attempt-6', '01a20eea-6c66-7201-8890-8cfda38444bf', 'charge', 60000, '2026-03-02 09:00:00', 'test', '');
INSERT INTO public.entry (seq, account_id, hold_id, grant_id, kind, amount, at, actor, reason) VALUES (7, 1, 'attempt-6', NULL, 'release', -2700000, '2026-03-02 09:00:00', 'test', '');
INSERT INTO public.entry (seq, account_id, hold_id, grant_id, kind, amount, at, actor, reason) VALUES (8, 1, NULL, '01a20eea-6c66-7201-8890-8cfda38444bf', 'lapse', -540000, '2026-03-02 09:11:00', 'test', '');
INSERT INTO public.entry (seq, account_id, hold_id, grant_id, kind, amount, at, actor, reason) VALUES (9, 1, 'attempt-7', NULL, 'hold', 10800000, '2026-03-02 09:11:00', 'test', '');
INSERT INTO public.entry (seq, account_id, hold_id, grant_id, kind, amount, at, actor, reason) VALUES (10, 1, 'attempt-7', NULL, 'renew', 3600000, '2026-03-02 09:11:00', 'test', '');
INSERT INTO public.entry (seq, account_id, hold_id, grant_id, kind, amount, at, actor, reason) VALUES (11, 1, 'attempt-8', NULL, 'hold', 4050000, '2026-03-02 09:11:00', 'test', '');
INSERT INTO public.entry (seq, account_id, hold_id, grant_id, kind, amount, at, actor, reason) VALUES (12, 1, 'attempt-9', NULL, 'hold', 4050000, '2026-03-02 09:11:00', 'test', '');
INSERT INTO public.entry (seq, account_id, hold_id, grant_id, kind, amount, at, actor, reason) VALUES (13, 1, 'attempt-9', NULL, 'release', -4050000, '2026-03-02 09:11:00', 'test', 'the start failed');
INSERT INTO public.entry (seq, account_id, hold_id, grant_id, kind, amount, at, actor, reason) VALUES (14, 1, 'attempt-10', NULL, 'hold', 4050000, '2026-03-02 09:11:00', 'test', '');
INSERT INTO public.entry (seq, account_id, hold_id, grant_id, kind, amount, at, actor, reason) VALUES (15, 1, 'attempt-10', NULL, 'release', -4050000, '2026-03-02 10:11:00', 'test', 'lease ended');
INSERT INTO public.entry (seq, account_id, hold_id, grant_id, kind, amount, at, actor, reason) VALUES (16, 2, NULL, '01a20eea-6c77-76c6-870f-24c915479eac', 'lapse', -900000, '2026-03-02 10:11:00', 'olga', '');
INSERT INTO public.entry (seq, account_id, hold_id, grant_id, kind, amount, at, actor, reason) VALUES (17, 3, 'attempt-11', NULL, 'hold', 450000, '2026-03-02 10:11:00', 'test', '');
INSERT INTO public.entry (seq, account_id, hold_id, grant_id, kind, amount, at, actor, reason) VALUES (18, 3, 'attempt-11', '01a20eea-6c80-7125-b091-b4c06b1edd80', 'charge', 900000, '2026-03-02 10:11:00', 'test', '');
INSERT INTO public.entry (seq, account_id, hold_id, grant_id, kind, amount, at, actor, reason) VALUES (19, 3, 'attempt-11', NULL, 'overrun', 4500000, '2026-03-02 10:11:00', 'test', 'used beyond what was held and left');
INSERT INTO public.entry (seq, account_id, hold_id, grant_id, kind, amount, at, actor, reason) VALUES (20, 3, 'attempt-11', NULL, 'release', -450000, '2026-03-02 10:11:00', 'test', '');
INSERT INTO public."grant" (id, key, account_id, amount, starts_at, ends_at, priority, request_id, class_id, created_by, created_at, reason, revoked_at, follows) VALUES ('01a20eea-6c57-7141-99d1-e7e2505ba267', 'grant-1', 1, 36000000, '2026-03-02 09:00:00', '2026-04-01 09:00:00', 0, NULL, NULL, 'operator', '2026-03-02 09:00:00', 'a test', NULL, NULL);
INSERT INTO public."grant" (id, key, account_id, amount, starts_at, ends_at, priority, request_id, class_id, created_by, created_at, reason, revoked_at, follows) VALUES ('01a20eea-6c66-7201-8890-8cfda38444bf', 'grant-2', 1, 600000, '2026-03-02 09:00:00', '2026-03-02 09:10:00', 3, NULL, NULL, 'operator', '2026-03-02 09:00:00', 'a test', NULL, NULL);
INSERT INTO public."grant" (id, key, account_id, amount, starts_at, ends_at, priority, request_id, class_id, created_by, created_at, reason, revoked_at, follows) VALUES ('01a20eea-6c70-77fe-9de0-88237fa95c48', 'grant-3', 2, 60000, '2026-03-04 09:00:00', '2026-04-03 09:00:00', 0, NULL, NULL, 'operator', '2026-03-02 09:00:00', 'a test', NULL, NULL);
INSERT INTO public."grant" (id, key, account_id, amount, starts_at, ends_at, priority, request_id, class_id, created_by, created_at, reason, revoked_at, follows) VALUES ('01a20eea-6c80-7125-b091-b4c06b1edd80', 'grant-5', 3, 900000, '2026-03-02 09:00:00', '2026-04-01 09:00:00', 0, NULL, NULL, 'operator', '2026-03-02 09:00:00', 'a test', NULL, NULL);
INSERT INTO public."grant" (id, key, account_id, amount, starts_at, ends_at, priority, request_id, class_id, created_by, created_at, reason, revoked_at, follows) VALUES ('01a20eea-6c77-76c6-870f-24c915479eac', 'grant-4', 2, 900000, '2026-03-02 09:00:00', '2026-04-01 09:00:00', 0, NULL, NULL, 'operator', '2026-03-02 09:00:00', 'a test', '2026-03-02 10:11:00', NULL);
INSERT INTO public.grant_balance (grant_id, account_id, amount, charged, lapsed) VALUES ('01a20eea-6c57-7141-99d1-e7e2505ba267', 1, 36000000, 0, 0);
INSERT INTO public.grant_balance (grant_id, account_id, amount, charged, lapsed) VALUES ('01a20eea-6c66-7201-8890-8cfda38444bf', 1, 600000, 60000, 540000);
INSERT INTO public.grant_balance (grant_id, account_id, amount, charged, lapsed) VALUES ('01a20eea-6c77-76c6-870f-24c915479eac', 2, 900000, 0, 900000);
INSERT INTO public.grant_balance (grant_id, account_id, amount, charged, lapsed) VALUES ('01a20eea-6c80-7125-b091-b4c06b1edd80', 3, 900000, 900000, 0);
INSERT INTO public.hold (id, account_id, amount, rate_version, weight_milli, flavour, gauge_sessions, gauge_cpu, gauge_memory_mib, gauge_gpu, state, reserved_at, lease_until, hub, "user", server, site, backend_ref, started_at, ended_at, charged, source) VALUES ('attempt-6', 1, 2700000, 1, 1000, 'small', 1, 0, 0, 0, 'settled', '2026-03-02 09:00:00', '2026-03-02 09:45:00', 'hub', 'ana-wcf5j3', '', 'here', NULL, '2026-03-02 09:00:00', '2026-03-02 09:01:00', 60000, 'launcher');
INSERT INTO public.hold (id, account_id, amount, rate_version, weight_milli, flavour, gauge_sessions, gauge_cpu, gauge_memory_mib, gauge_gpu, state, reserved_at, lease_until, hub, "user", server, site, backend_ref, started_at, ended_at, charged, source) VALUES ('attempt-7', 1, 14400000, 2, 4000, 'medium', 1, 0, 0, 0, 'running', '2026-03-02 09:11:00', '2026-03-02 10:11:00', 'hub', 'ana-wcf5j3', 'lab', 'here', NULL, '2026-03-02 09:11:00', NULL, NULL, NULL);
INSERT INTO public.hold (id, account_id, amount, rate_version, weight_milli, flavour, gauge_sessions, gauge_cpu, gauge_memory_mib, gauge_gpu, state, reserved_at, lease_until, hub, "user", server, site, backend_ref, started_at, ended_at, charged, source) VALUES ('attempt-8', 1, 4050000, 2, 1500, 'small', 1, 0, 0, 0, 'unknown', '2026-03-02 09:11:00', '2026-03-02 09:56:00', 'hub', '01a20eea-6c4c-778d-bb4f-61fde6270d08', 'silent', 'here', NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.hold (id, account_id, amount, rate_version, weight_milli, flavour, gauge_sessions, gauge_cpu, gauge_memory_mib, gauge_gpu, state, reserved_at, lease_until, hub, "user", server, site, backend_ref, started_at, ended_at, charged, source) VALUES ('attempt-9', 1, 4050000, 2, 1500, 'small', 1, 0, 0, 0, 'released', '2026-03-02 09:11:00', '2026-03-02 09:56:00', 'hub', '01a20eea-6c4c-778d-bb4f-61fde6270d08', 'never', 'here', NULL, NULL, NULL, 0, 'the start failed');
INSERT INTO public.hold (id, account_id, amount, rate_version, weight_milli, flavour, gauge_sessions, gauge_cpu, gauge_memory_mib, gauge_gpu, state, reserved_at, lease_until, hub, "user", server, site, backend_ref, started_at, ended_at, charged, source) VALUES ('attempt-10', 1, 4050000, 2, 1500, 'small', 1, 0, 0, 0, 'expired', '2026-03-02 09:11:00', '2026-03-02 09:56:00', 'hub', '01a20eea-6c4c-778d-bb4f-61fde6270d08', 'late', 'here', NULL, NULL, NULL, 0, 'lease ended');
INSERT INTO public.hold (id, account_id, amount, rate_version, weight_milli, flavour, gauge_sessions, gauge_cpu, gauge_memory_mib, gauge_gpu, state, reserved_at, lease_until, hub, "user", server, site, backend_ref, started_at, ended_at, charged, source) VALUES ('attempt-11', 3, 450000, 2, 1500, 'small', 1, 0, 0, 0, 'settled', '2026-03-02 10:11:00', '2026-03-02 10:16:00', 'hub', 'anna', 'over', 'here', NULL, '2026-03-02 10:11:00', '2026-03-02 11:11:00', 5400000, 'launcher');
INSERT INTO public.person (id, issuer, subject, user_name, facts, facts_at, created_at) VALUES ('01a20eea-6c4c-778d-bb4f-61fde6270d08', 'https://idp.example.org', 'ana', 'ana-wcf5j3', '{"provider": "cafe", "name": "Ana D\u00edaz", "email": "ana@example.org", "home_organisation": "Universidad de los Andes", "affiliations": ["member@example.org"], "assurance": ["https://refeds.org/assurance/IAP/medium"], "memberships": ["/vo/astro"], "mfa": true, "not_understood": []}', '2026-03-02 09:00:00', '2026-03-02 09:00:00');
INSERT INTO public.person (id, issuer, subject, user_name, facts, facts_at, created_at) VALUES ('01a20eea-6c50-76b4-8a1d-4ac719a1edfa', 'https://idp.example.org', 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx', 'xxxxxxxxxxxxxxxxxxxxxxxx-j6xy3v', '{"provider": "", "name": "\u65e5\u672c Name\nwith a \"break\"", "email": "", "home_organisation": "", "affiliations": [], "assurance": [], "memberships": [], "mfa": false, "not_understood": []}', '2026-03-02 09:00:00', '2026-03-02 09:00:00');
INSERT INTO public.rate_table (version, flavour, weight_milli, valid_from) VALUES (1, 'medium', 4000, '2026-03-02 09:00:00');
INSERT INTO public.rate_table (version, flavour, weight_milli, valid_from) VALUES (1, 'small', 1000, '2026-03-02 09:00:00');
INSERT INTO public.rate_table (version, flavour, weight_milli, valid_from) VALUES (1, 'tiny', 1, '2026-03-02 09:00:00');
INSERT INTO public.rate_table (version, flavour, weight_milli, valid_from) VALUES (2, 'medium', 4000, '2026-03-02 09:00:00');
INSERT INTO public.rate_table (version, flavour, weight_milli, valid_from) VALUES (2, 'small', 1500, '2026-03-02 09:00:00');
INSERT INTO public.rate_table (version, flavour, weight_milli, valid_from) VALUES (2, 'tiny', 1, '2026-03-02 09:00:00');
INSERT INTO public.session (attempt, session_id, hub, "user", server, person_id, site, flavour, environment, options, state, secret_hash, nonce, exchanged_at, token_ids, backend_ref, host, port, created_at, submitted_at, started_at, ready_at, ended_at, end_reason, end_detail) VALUES ('attempt-7', 'attempt-7', 'hub', 'ana-wcf5j3', 'lab', '01a20eea-6c4c-778d-bb4f-61fde6270d08', 'here', 'medium', 'python', '{"flavour": "medium", "note": "\u00fc"}', 'intent', '0000000000000000000000000000000000000000000000000000000000000000', NULL, NULL, '[0]', NULL, NULL, NULL, '2026-03-02 10:11:00', NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.session (attempt, session_id, hub, "user", server, person_id, site, flavour, environment, options, state, secret_hash, nonce, exchanged_at, token_ids, backend_ref, host, port, created_at, submitted_at, started_at, ready_at, ended_at, end_reason, end_detail) VALUES ('attempt-6', 'attempt-6', 'hub', 'ana-wcf5j3', '', '01a20eea-6c4c-778d-bb4f-61fde6270d08', 'here', 'medium', 'python', '{"flavour": "medium", "note": "\u00fc"}', 'intent', '0000000000000000000000000000000000000000000000000000000000000000', NULL, NULL, '[1]', NULL, NULL, NULL, '2026-03-02 10:11:00', NULL, NULL, NULL, NULL, NULL, NULL);
SELECT pg_catalog.setval('public.account_id_seq', 3, true);
SELECT pg_catalog.setval('public.audit_seq_seq', 6, true);
SELECT pg_catalog.setval('public.entry_seq_seq', 20, true);
ALTER TABLE ONLY public.account
    ADD CONSTRAINT account_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);
ALTER TABLE ONLY public.audit
    ADD CONSTRAINT audit_pkey PRIMARY KEY (seq);
ALTER TABLE ONLY public.balance
    ADD CONSTRAINT balance_pkey PRIMARY KEY (account_id);
ALTER TABLE ONLY public.entry
    ADD CONSTRAINT entry_pkey PRIMARY KEY (seq);
ALTER TABLE ONLY public.grant_balance
    ADD CONSTRAINT grant_balance_pkey PRIMARY KEY (grant_id);
ALTER TABLE ONLY public."grant"
    ADD CONSTRAINT grant_key_key UNIQUE (key);
ALTER TABLE ONLY public."grant"
    ADD CONSTRAINT grant_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.hold
    ADD CONSTRAINT hold_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.person
    ADD CONSTRAINT person_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.person
    ADD CONSTRAINT person_user_name_key UNIQUE (user_name);
ALTER TABLE ONLY public.rate_table
    ADD CONSTRAINT rate_table_pkey PRIMARY KEY (version, flavour);
ALTER TABLE ONLY public.session
    ADD CONSTRAINT session_pkey PRIMARY KEY (attempt);
ALTER TABLE ONLY public.account
    ADD CONSTRAINT uq_account_owner UNIQUE (owner_kind, owner_ref, unit);
ALTER TABLE ONLY public.person
    ADD CONSTRAINT uq_person_issuer_subject UNIQUE (issuer, subject);
CREATE INDEX ix_entry_account ON public.entry USING btree (account_id, seq);
CREATE INDEX ix_entry_hold ON public.entry USING btree (hold_id);
CREATE INDEX ix_grant_account ON public."grant" USING btree (account_id, ends_at);
CREATE INDEX ix_grant_balance_left ON public.grant_balance USING btree (account_id) WHERE ((charged + lapsed) < amount);
CREATE INDEX ix_hold_account ON public.hold USING btree (account_id, reserved_at);
CREATE INDEX ix_hold_open_lease ON public.hold USING btree (lease_until) WHERE ((state)::text = ANY ((ARRAY['held'::character varying, 'running'::character varying, 'unknown'::character varying])::text[]));
CREATE INDEX ix_hold_open_site ON public.hold USING btree (site) WHERE ((state)::text = ANY ((ARRAY['held'::character varying, 'running'::character varying, 'unknown'::character varying])::text[]));
CREATE INDEX ix_session_person ON public.session USING btree (person_id, created_at);
CREATE UNIQUE INDEX uq_entry_terminal ON public.entry USING btree (hold_id, COALESCE(grant_id, ''::character varying), kind) WHERE ((kind)::text = ANY ((ARRAY['release'::character varying, 'charge'::character varying, 'overrun'::character varying])::text[]));
CREATE UNIQUE INDEX uq_hold_open ON public.hold USING btree (hub, "user", server) WHERE ((state)::text = ANY ((ARRAY['held'::character varying, 'running'::character varying, 'unknown'::character varying])::text[]));
CREATE UNIQUE INDEX uq_session_open ON public.session USING btree (hub, "user", server) WHERE (ended_at IS NULL);
CREATE TRIGGER audit_is_kept BEFORE DELETE OR UPDATE ON public.audit FOR EACH ROW EXECUTE FUNCTION public.audit_is_kept();
CREATE TRIGGER entry_is_kept BEFORE DELETE OR UPDATE ON public.entry FOR EACH ROW EXECUTE FUNCTION public.entry_is_kept();
CREATE TRIGGER grant_is_kept BEFORE DELETE OR UPDATE ON public."grant" FOR EACH ROW EXECUTE FUNCTION public.grant_is_kept();
CREATE TRIGGER rate_table_is_kept BEFORE DELETE OR UPDATE ON public.rate_table FOR EACH ROW EXECUTE FUNCTION public.rate_table_is_kept();
ALTER TABLE ONLY public.balance
    ADD CONSTRAINT balance_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.account(id);
ALTER TABLE ONLY public.entry
    ADD CONSTRAINT entry_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.account(id);
ALTER TABLE ONLY public.entry
    ADD CONSTRAINT entry_grant_id_fkey FOREIGN KEY (grant_id) REFERENCES public."grant"(id);
ALTER TABLE ONLY public.entry
    ADD CONSTRAINT entry_hold_id_fkey FOREIGN KEY (hold_id) REFERENCES public.hold(id);
ALTER TABLE ONLY public."grant"
    ADD CONSTRAINT grant_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.account(id);
ALTER TABLE ONLY public.grant_balance
    ADD CONSTRAINT grant_balance_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.account(id);
ALTER TABLE ONLY public.grant_balance
    ADD CONSTRAINT grant_balance_grant_id_fkey FOREIGN KEY (grant_id) REFERENCES public."grant"(id);
ALTER TABLE ONLY public."grant"
    ADD CONSTRAINT grant_follows_fkey FOREIGN KEY (follows) REFERENCES public."grant"(id);
ALTER TABLE ONLY public.hold
    ADD CONSTRAINT hold_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.account(id);
