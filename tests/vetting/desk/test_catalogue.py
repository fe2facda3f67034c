"""What the federation offers: each site with what belongs to it, what is asked, how it is now; and nothing of anybody."""

from federation.errors import Failure
from federation.i18n import use_language
from tests.support.desk_pages import DeskPages
from vetting.desk.catalogue import catalogue_of
from vetting.errors import SITE_NOT_OPEN


def test_each_site_has_its_own_flavours_and_environments(pages: DeskPages) -> None:
    shown = catalogue_of(pages.desk)
    assert [(s.name, s.title, s.country, [f.name for f in s.flavours], [e.title for e in s.environments])
            for s in shown.sites] == [
        ("cloud", "Cloud", "Peru", ["small"], ["Python"]),
        ("hpc", "HPC Andes", "Spain", ["small", "gpu"], ["Python"]),
    ]  # fmt: skip
    gpu = shown.sites[1].flavours[1]
    assert (gpu.title, gpu.text, gpu.weight, gpu.tier) == ("GPU", "8 CPU, 32 GiB memory, 1 GPU", 20, "T2")


def test_what_a_site_asks_of_everybody_is_told(pages: DeskPages) -> None:
    asks = {site.name: site.asks for site in catalogue_of(pages.desk).sites}
    assert asks == {"cloud": [], "hpc": ["the acceptance of the site"]}


def test_a_tier_says_what_it_gives_and_what_it_asks(pages: DeskPages) -> None:
    first, second = catalogue_of(pages.desk).tiers
    assert (first.gives, first.flavours, first.is_decided) == ("100 unit-hours each month", ["Small"], False)
    assert first.asks == ["membership of one of these communities: urn:mace:example.org:group:demo"]
    assert (second.gives, second.flavours, second.is_decided) == ("", ["GPU"], True)
    assert "a decision of the support team" in second.asks


def test_a_site_that_takes_nothing_now_says_why(pages: DeskPages) -> None:
    pages.closed["hpc"] = Failure(SITE_NOT_OPEN, {"site": "HPC Andes"})
    page = pages.browser().page()
    hpc, cloud = page.select_one("[data-site=hpc]"), page.select_one("[data-site=cloud]")
    assert hpc is not None
    assert cloud is not None
    assert "it is not certified" in hpc.get_text()
    assert "closed now" not in cloud.get_text()


def test_titles_are_in_the_language_of_the_reader(pages: DeskPages) -> None:
    use_language("es")
    shown = catalogue_of(pages.desk)
    use_language("en")
    assert (shown.sites[0].country, shown.sites[0].flavours[0].title) == ("Perú", "Pequeño")


def test_whoever_comes_by_sees_it_and_nothing_of_anybody(pages: DeskPages) -> None:
    pages.person("ana", "operator")
    text = pages.browser().page().get_text()
    assert "HPC Andes" in text
    for private in ("ana", "Ana", "@example.org"):
        assert private not in text.replace("help@example.org", "")
