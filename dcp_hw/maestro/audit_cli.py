"""Subcommand `audit` of `dcp-hw`: claimed results and mappings against physical bounds."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dcp_hw.errors import InputError

_ENDINGS = (".m", ".json", ".csv", ".csv.gz", ".parquet")


def add_parsers(subparsers: Any) -> None:
    """Nothing; adds the subcommand."""
    from dcp_hw.maestro.cli import add_hardware

    p = subparsers.add_parser(
        "audit",
        help="which physical bounds do claimed results break, and by how much",
        description="Audits claimed results (a CSV with the columns of docs/audit.md), or what "
        "MAESTRO claims of mappings: mapping files, tables of maestro-batch, GAMMA's genomes. "
        "Exit code 1 if a bound is broken.",
    )
    p.add_argument("files", nargs="+", type=Path, metavar="FILE", help=", ".join(_ENDINGS))
    p.add_argument(
        "--layers", type=Path, metavar="FILE", help="GAMMA's layer CSV, for genomes (.json)"
    )
    p.add_argument(
        "--where", type=_where, metavar="COLUMN=TEXT", help="of a table, these rows only"
    )
    p.add_argument(
        "--show",
        type=int,
        default=10,
        metavar="N",
        help="mappings printed (default 10); --json all",
    )
    p.add_argument("--threads", type=int, default=2, metavar="N", help="default 2")
    p.add_argument("--json", action="store_true", help="verdicts as JSON on stdout")
    add_hardware(p)
    p.set_defaults(run=main_audit)


def _where(text: str) -> tuple[str, str]:
    column, equal, value = text.partition("=")
    if not equal or not column:
        raise argparse.ArgumentTypeError(f"{text[:40]!r}; accepted: COLUMN=TEXT, like physical=0")
    return column, value


def main_audit(options: argparse.Namespace) -> int:
    """Exit code of `audit`: 1 if a bound is broken."""
    if options.threads < 1 or options.show < 0:
        raise InputError("--threads must be at least 1, --show at least 0")
    records = []
    for path in options.files:
        kind = _kind(path)
        if options.where and kind != "table":
            raise InputError(f"{path}: --where selects rows of a table of mappings, not {kind}")
        record = _audit_claims(path) if kind == "claims" else _audit_mappings(path, kind, options)
        records.append({"file": str(path), "kind": kind, **record})
        if not options.json:
            _print(records[-1])
    if options.json:
        print(json.dumps({"files": records}, indent=1))
    return 1 if any(record["broken"] for record in records) else 0


def _kind(path: Path) -> str:
    """What a file holds: claims, mappings, genomes or a table."""
    name = path.name
    if not name.endswith(_ENDINGS):
        raise InputError(f"{path}: unknown ending; accepted: {', '.join(_ENDINGS)}")
    if name.endswith(".m"):
        return "mappings"
    if name.endswith(".json"):
        return "genomes"
    if not name.endswith(".csv"):
        return "table"
    from dcp_hw.layerset_csv import csv_rows

    header = next((cells for _, cells in csv_rows(path)), [])
    return "table" if "mapping" in header else "claims"


def _audit_claims(path: Path) -> dict[str, Any]:
    from dcp_hw.maestro.audit import audit
    from dcp_hw.maestro.audit_claims import load_claims

    claims = []
    for claim in load_claims(path):
        verdicts = audit(claim)
        broken = sum(not verdict.holds for verdict in verdicts)
        records = [verdict.record() for verdict in verdicts]
        claims.append(
            {"name": claim.name, "source": claim.source, "broken": broken, "verdicts": records}
        )
    return {"claims": claims, "broken": sum(claim["broken"] > 0 for claim in claims)}


def _audit_mappings(path: Path, kind: str, options: argparse.Namespace) -> dict[str, Any]:
    from dcp_hw.maestro.audit_summary import Summary

    summary, kept = Summary(), []
    for piece in _pieces(path, kind, options):
        for finding in summary.add(piece, every=kind != "table"):
            if options.json or len(kept) < options.show:
                kept.append(finding.record())
    if not summary.rows:
        column, text = options.where
        raise InputError(f"{path}: no row has {column} = {text!r}")
    return {"broken": summary.broken, "summary": summary.record(), "mappings": kept}


def _pieces(path: Path, kind: str, options: argparse.Namespace) -> Iterator[Any]:
    from dcp_hw.maestro import audit_source
    from dcp_hw.maestro.cli import hardware_of
    from dcp_hw.maestro.compat import GAMMA_HARDWARE

    if kind == "table":
        yield from audit_source.of_batch_file(path, options.where, options.threads)
    elif kind == "mappings":
        yield audit_source.of_mapping_file(path, hardware_of(options))
    elif options.layers is None:
        raise InputError(f"{path}: genomes need --layers FILE, GAMMA's layer CSV")
    else:
        hardware = hardware_of(options, base=GAMMA_HARDWARE)
        yield audit_source.of_genomes(path, options.layers, hardware)


# --- text -----------------------------------------------------------------------------


def _print(record: dict[str, Any]) -> None:
    """Nothing; prints the record of one file."""
    print(f"{record['file']}: {record['kind']}")
    if record["kind"] == "claims":
        for claim in record["claims"]:
            print(f"  {claim['name']}")
            for verdict in claim["verdicts"]:
                print(f"    {verdict['text']}")
        print(f"  {len(record['claims'])} claims, {record['broken']} break a bound")
        return
    for mapping in record["mappings"]:
        _print_mapping(mapping)
    _print_summary(record["summary"])


def _print_mapping(mapping: dict[str, Any]) -> None:
    print(f"  {mapping['name']}")
    if mapping["infeasible"]:
        print(f"    no result: {mapping['infeasible']}")
    for verdict in mapping["verdicts"]:
        print(f"    {verdict['text']}")
    claimed, honest = mapping["claimed_cycles"], mapping["honest_cycles"]
    if claimed is not None and honest is not None:
        print(f"    cycles: {claimed:,} claimed, {honest:,} by the honest model")
    elif mapping["honest_infeasible"]:
        print(f"    honest model: no result: {mapping['honest_infeasible']}")


def _print_summary(summary: dict[str, Any]) -> None:
    print(
        f"  {summary['rows']} mappings, {summary['without_result']} without a result, "
        f"{summary['broken']} break a bound"
    )
    for bound, found in summary["bounds"].items():
        worst = found["largest_factor"]
        if found["broken"]:
            text = "impossible" if worst is None else f"up to {worst:.4g} x"
            print(f"    {bound:13} {found['broken']:8} {text:>18}  {found['row']}")
    honest = summary["honest"]
    if honest["compared"]:
        ratio = honest["claimed_over_honest"]
        print(
            f"  {honest['compared']} compared with the honest model: {honest['claimed_below']} "
            f"claim fewer cycles, {honest['claimed_below_by_a_tenth']} by a tenth or more; "
            f"claimed / honest: {ratio['least']:.4g} to {ratio['most']:.4g}, "
            f"median {ratio['median']:.4g}"
        )
