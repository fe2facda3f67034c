"""The proxy as the hub sees it; that routes come back after a restart is seen in tests/services/test_crashes.py."""

from typing import Any

import pytest
from jupyterhub.proxy import ConfigurableHTTPProxy

from hub_config.restoring_proxy import RestoringProxy


@pytest.mark.asyncio
async def test_what_passes_through_the_proxy_is_no_activity_of_a_session(monkeypatch: pytest.MonkeyPatch) -> None:
    async def routes(self: Any) -> dict[str, Any]:
        data = {"user": "ana", "server_name": "", "last_activity": "2026-03-02T09:00:00.000Z"}
        return {
            "/user/ana/": {"target": "http://127.0.0.1:1", "data": data},
            "/": {"target": "x", "data": {"hub": True}},
        }

    monkeypatch.setattr(ConfigurableHTTPProxy, "get_all_routes", routes)
    assert await RestoringProxy().get_all_routes() == {
        "/user/ana/": {"target": "http://127.0.0.1:1", "data": {"user": "ana", "server_name": ""}},
        "/": {"target": "x", "data": {"hub": True}},
    }
