"""Reports survive JSON, and say in text and HTML what happened."""

import dataclasses
import io
import json
import typing
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_samples import STARTED, run_report

from rayetl.errors import RayetlError
from rayetl.observability import text
from rayetl.observability.html import to_html
from rayetl.observability.report import (
    CaseResult,
    Cell,
    CheckReport,
    ErrorReport,
    LoadReport,
    RejectReason,
    RowDiff,
    RunReport,
    SourceReport,
    Status,
    StepReport,
    TableDiff,
    TestReport,
)
from rayetl.observability.store import list_reports, load_report, save_report

st.register_type_strategy(
    datetime,
    st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),
)
st.register_type_strategy(float, st.floats(0, 1e9))
st.register_type_strategy(str, st.text(st.characters(), max_size=8))


@settings(max_examples=60, deadline=None)
@given(st.from_type(RunReport))
def test_any_report_survives_json_exactly(report: RunReport) -> None:
    assert RunReport.from_json(report.to_json()) == report


@settings(max_examples=40, deadline=None)
@given(st.from_type(RunReport))
def test_any_report_can_be_shown(report: RunReport) -> None:
    Page(to_html(report))
    text.write_report(report, io.StringIO())


def test_test_report_survives_json() -> None:
    row = RowDiff("changed", (Cell("1", "int"),), (Cell("1", "str"),))
    report = TestReport((CaseResult("a", False, (TableDiff("out", ("n",), 1, 1, (row,)),), seconds=0.5),))
    assert TestReport.from_json(report.to_json()) == report


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"status": "fine"}, "RunReport.status: expected done | skipped"),
        ({"exit_code": "0"}, "RunReport.exit_code: expected int"),
        ({"started": "yesterday"}, "RunReport.started: expected a time in ISO 8601"),
        ({"sources": {}}, "RunReport.sources: expected a list"),
        ({"steps": [{"id": "x"}]}, r"RunReport.steps[0]: `kind` is missing"),
    ],
)
def test_a_damaged_report_is_refused_by_name(change: dict[str, object], complaint: str) -> None:
    document = {**json.loads(run_report().to_json()), **change}
    with pytest.raises(ValueError) as caught:
        RunReport.from_json(json.dumps(document))
    assert complaint in str(caught.value)


def test_fields_of_a_later_version_are_passed_over() -> None:
    document = {**json.loads(run_report().to_json()), "later": 1}
    del document["rejected_rows"]
    assert RunReport.from_json(json.dumps(document)) == run_report()


def test_totals_are_sums_over_the_parts() -> None:
    report = run_report()
    assert (report.rows_read, report.rows_loaded, report.rows_rejected) == (336_776, 300_000, 76)
    skipped = dataclasses.replace(report.loads[0], status="skipped")
    assert run_report(loads=(skipped,)).rows_loaded == 0
    assert run_report(rejected_rows=70).rows_rejected == 70


def test_text_report_names_what_matters() -> None:
    out = io.StringIO()
    text.write_report(run_report(warnings=("old file",)), out)
    shown = out.getvalue()
    for part in (
        "flights: done",
        "336,776 read",
        "36,700 filtered",
        "arr_delay < 2000",
        "out/late",
        "old file",
    ):
        assert part in shown
    assert "\x1b" not in shown


def test_text_report_of_a_failure_ends_with_cause_and_hint() -> None:
    out = io.StringIO()
    error = ErrorReport("SourceError", "a.csv is cut off", "fetch it again", "flights")
    text.write_report(run_report(status="failed", exit_code=1, error=error), out)
    assert out.getvalue().endswith("error: flights: a.csv is cut off\nhint: fetch it again\n")


def test_terminal_tables_hold_the_same_cells() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    text.Writer(out).table(text.Table("T", ("a", "[b]"), (("[red]x", "\x1b[2J"),)))
    assert "[red]x" in out.getvalue()
    assert "\\x1b[2J" in out.getvalue()


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (text.count(1234567), "1,234,567"),
        (text.count(None), "-"),
        (text.size(999), "999 B"),
        (text.size(12_345_678), "12.3 MB"),
        (text.duration(0.0123), "12 ms"),
        (text.duration(59.9), "59.90 s"),
        (text.duration(125), "2 min 5 s"),
        (text.duration(11_520), "3 h 12 min"),
        (text.rate(2_460_000, 2.0), "1.23 M rows/s"),
        (text.rate(50, 1.0), "50 rows/s"),
        (text.rate(5, 0.0), "-"),
        (text.share(0.05), "5.00%"),
        (text.share(0.0000042), "0.00042%"),
        (text.share(0.0), "0.00%"),
    ],
)
def test_numbers_for_people(shown: str, expected: str) -> None:
    assert shown == expected


class Page(HTMLParser):
    """Checks nesting; collects tags, attributes and text."""

    VOID = frozenset({"meta", "rect", "polygon"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.tags: set[str] = set()
        self.words: list[str] = []
        self.feed(page)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        if tag in self.VOID:
            return
        assert self.open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


EVIL = "<script>alert('x')</script>\"'&\x1b[31m\u202e$title"


def evil_report() -> RunReport:
    return run_report(
        pipeline=EVIL,
        run=EVIL,
        run_key=EVIL,
        sources=(SourceReport(EVIL, EVIL, 1, 1, 10),),
        steps=(StepReport(EVIL, EVIL, 10, 9, rejected=1, inputs=(EVIL, EVIL)),),
        loads=(LoadReport(EVIL, EVIL, EVIL, EVIL, "committed", 9, 1, 1, 0.1, EVIL, (), EVIL),),
        rejects=(RejectReason(EVIL, EVIL, EVIL, EVIL, 1),),
        warnings=(EVIL,),
        error=ErrorReport(EVIL, EVIL, EVIL, EVIL),
    )


def test_hostile_names_stay_text() -> None:
    page = to_html(evil_report())
    parsed = Page(page)
    assert "script" not in parsed.tags
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert any("<script>alert" in word for word in parsed.words)
    assert not any(name.startswith("on") for name, _ in parsed.attributes)


def test_the_page_stands_alone() -> None:
    for report in (run_report(), evil_report(), run_report(sources=(), steps=(), loads=(), rejects=())):
        page = to_html(report)
        parsed = Page(page)
        assert not {"script", "link", "img", "iframe", "object"} & parsed.tags
        assert not {"src", "href", "xlink:href"} & {name for name, _ in parsed.attributes}
        assert "http://" not in page
        assert "https://" not in page
        assert "url(" not in page
        assert "@import" not in page


@pytest.mark.parametrize(
    ("on_failure", "passed", "allowed", "failed_rows", "word"),
    [
        ("quarantine", True, None, 3, "passed"),
        ("quarantine", False, None, 3, "set aside"),
        ("quarantine", False, 0.01, 3, "FAILED"),
        ("quarantine", False, 0.5, 3, "set aside"),
        ("warn", False, None, 3, "counted"),
        ("abort", False, None, 3, "FAILED"),
        ("abort", False, None, None, "FAILED"),
    ],
)
def test_a_check_is_called_failed_only_where_it_matters(
    on_failure, passed, allowed, failed_rows, word
) -> None:
    check = CheckReport("s", "r", "check", None, on_failure, failed_rows, 0.1, allowed, passed, "seen")
    (table,) = (t for t in text.tables(run_report(checks=(check,))) if t.title.startswith("Checks"))
    assert table.rows[0][0] == word


def test_a_check_names_its_field() -> None:
    tables = {table.title: table for table in text.tables(run_report())}
    (row,) = tables["Checks that found something"].rows
    assert dict(zip(tables["Checks that found something"].headers, row, strict=True))["field"] == "arr_delay"


@pytest.mark.parametrize(("status", "title"), [("done", "Books"), ("aborted", "Books, had it gone on")])
def test_books_of_a_run_that_was_stopped_do_not_say_that_rows_were_loaded(status: Status, title: str) -> None:
    titles = [table.title for table in text.tables(run_report(status=status))]
    assert [each for each in titles if each.startswith("Books")] == [title]


@pytest.mark.parametrize("status", typing.get_args(Status))
def test_every_status_has_words(status: Status) -> None:
    report = run_report(status=status)
    assert text.headline(report)
    assert "pill" in to_html(report)


def test_the_flow_shows_each_station_once_with_its_rows() -> None:
    page = to_html(run_report())
    for tooltip in ("flights: 336,776 rows", "delays: 336,700 rows, 76 rejected", "out: 300,000 rows"):
        assert page.count(f"<title>{tooltip}</title>") == 1


def test_a_run_without_rows_draws_no_empty_charts() -> None:
    page = to_html(run_report(sources=(), steps=(), loads=(), rejects=(), stages=()))
    assert "<svg" not in page


def test_saved_reports_are_found_by_id_prefix_and_age(tmp_path) -> None:
    first = run_report()
    second = run_report(run="20261124T000000-def456", started=STARTED + timedelta(days=1))
    for report in (second, first):
        saved = save_report(report, tmp_path)
        assert saved.json.exists()
        assert saved.html.read_text().startswith("<!doctype html>")
    assert load_report(tmp_path, "last") == second
    assert load_report(tmp_path, "20261123") == first
    assert load_report(tmp_path, first.run) == first
    assert list_reports(tmp_path) == [second, first]
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize(
    ("run", "message", "hint"),
    [
        ("2026", "ambiguous", None),
        ("20261123T110000-abc124", "there is no report", "did you mean 20261123T110000-abc123?"),
        ("zzz", "there is no report", "--list"),
    ],
)
def test_a_wrong_run_id_is_helped(tmp_path, run: str, message: str, hint: str | None) -> None:
    save_report(run_report(), tmp_path)
    save_report(run_report(run="20261124T000000-def456"), tmp_path)
    with pytest.raises(RayetlError, match=message) as caught:
        load_report(tmp_path, run)
    assert hint is None or hint in (caught.value.hint or "")


def test_no_reports_yet(tmp_path) -> None:
    with pytest.raises(RayetlError, match="no run reports"):
        load_report(tmp_path)


def test_a_damaged_report_is_named_and_left_out_of_the_list(tmp_path) -> None:
    saved = save_report(run_report(), tmp_path)
    saved.json.write_bytes(b"{")
    assert list_reports(tmp_path) == []
    with pytest.raises(RayetlError, match=r"report\.json cannot be read"):
        load_report(tmp_path, run_report().run)
