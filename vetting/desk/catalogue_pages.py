"""The first page: what the federation offers, for everybody."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from vetting.desk.catalogue import catalogue_of
from vetting.desk.gate import AnyVisitor, TheDesk
from vetting.desk.pages import render

__all__ = ["router"]

router = APIRouter()


@router.get("/")
def catalogue(request: Request, desk: TheDesk, visitor: AnyVisitor) -> Response:
    """What there is."""
    return render(request, visitor, "catalogue.html", catalogue=catalogue_of(desk))
