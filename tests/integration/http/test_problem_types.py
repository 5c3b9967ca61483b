"""Each problem's `type` is the address of its description, at the service that answered it."""

import asyncio

from freehold.http.catalogue import PROBLEM_TYPES
from integration.http.serving import Service, serving
from support.answers import problem
from support.documents import Document

AS_JSON = {"Accept": "application/json"}


async def document(service: Service, path: str) -> Document:
    answer = await service.http.get(path, headers=AS_JSON)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    found: Document = answer.json()
    return found


async def test_a_program_reads_what_a_problem_means_at_its_type() -> None:
    async with serving() as service:
        refusal = problem(await service.http.get("/nowhere"), "not-found")
        kind = await document(service, refusal["type"])
        assert {name: kind[name] for name in ("type", "title", "status")} == {
            name: refusal[name] for name in ("type", "title", "status")
        }
        assert kind["retry"] == "no"
        assert "id" in kind["cause"]
        assert set(kind["example"]) == {"type", "title", "status", "detail"}


async def test_a_person_reads_a_page_without_scripts_that_may_be_cached() -> None:
    async with serving() as service:
        paths = ["/problems", *(kind.uri for kind in PROBLEM_TYPES)]
        for answer in await asyncio.gather(*map(service.http.get, paths)):
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith("text/html")
            assert answer.headers["content-security-policy"].startswith("default-src 'none'; style")
            assert answer.headers["cache-control"] == "public, max-age=3600"
            assert answer.headers["vary"] == "Accept, Origin"
            assert "<script" not in answer.text
        assert PROBLEM_TYPES[-1].title in answer.text


async def test_all_types_are_listed() -> None:
    async with serving() as service:
        listed = (await document(service, "/problems"))["data"]
        assert [kind["type"] for kind in listed] == [kind.uri for kind in PROBLEM_TYPES]
        assert listed[0] == await document(service, listed[0]["type"])
        page = (await service.http.get("/problems")).text
        assert all(f'href="problems/{kind.slug}"' in page for kind in PROBLEM_TYPES)


async def test_an_unknown_type_is_not_found_and_an_unknown_form_not_acceptable() -> None:
    async with serving() as service:
        problem(await service.http.get("/problems/invented"), "not-found")
        answer = await service.http.get("/problems", headers={"Accept": "image/png"})
        assert "text/html" in problem(answer, "not-acceptable")["detail"]
