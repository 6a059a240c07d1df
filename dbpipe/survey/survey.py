"""A survey on disk: settings, catalog and files in one folder, and everything that can be done with it.

`dbpipe.survey.opening` says what is in the folder.
"""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import chdir, closing, contextmanager, suppress
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dbpipe.ask.provenance import Section, explain
from dbpipe.catalog import checks, files
from dbpipe.catalog.sql.cookbook import find_recipe
from dbpipe.catalog.sql.queries import fetch_table, load_named
from dbpipe.catalog.sql.questions import ask, check_new_name, find_relation
from dbpipe.catalog.work import units
from dbpipe.catalog.work.offer import Options
from dbpipe.errors import ConfigError, DbpipeError, DiskError
from dbpipe.failures import clean
from dbpipe.publish.answers import Answer, fetch_answer, fetch_head, write_answer
from dbpipe.runner import intake, order, outlook, pipeline
from dbpipe.runner.pool import WorkerPool
from dbpipe.stages.contracts.inject import INJECT
from dbpipe.survey import opening
from dbpipe.survey.discover import LeftAlone, find_raw_files, split_settled
from dbpipe.survey.opening import CATALOG, INSTRUMENT, LOCK, SETTINGS, SNAPSHOT
from dbpipe.survey.settings import Settings, read_settings

if TYPE_CHECKING:
    import pyarrow as pa

    from dbpipe.catalog.checks import Finding
    from dbpipe.publish.tree import TreeReport
    from dbpipe.runner.report import Report, Summary
    from dbpipe.survey.opening import Opened, Writing
    from dbpipe.template.decision import Decision

__all__ = ["CATALOG", "INSTRUMENT", "LOCK", "SETTINGS", "SNAPSHOT", "Survey"]


class Survey:
    """An open survey. Close it, or use it in a ``with`` block: while it is open for writing nobody else can write.

    Readers get the published snapshot and hold up nobody, however long they have it open; ``as_of`` says from when it
    is (UTC), and ``busy``, if it is not the catalog as it is now, why: mostly, who is writing.
    """

    def __init__(self, root: str | os.PathLike[str], opened: "Opened | Writing") -> None:
        self.root = Path(root)
        self.connection = opened.connection
        self._opened = opened
        self._is_closed = False
        self.kept: list[str] = []
        """Names of files that were in the folder when the survey was made, and are not as it would have made them."""

    @property
    def as_of(self) -> datetime | None:
        """From when the snapshot is (UTC); None for the catalog itself."""
        return self._opened.as_of

    @property
    def busy(self) -> str | None:
        """Why there is no newer snapshot, or None."""
        return None if self._opened.stale is None else str(self._opened.stale)

    @classmethod
    def open(cls, root: str | os.PathLike[str], *, read_only: bool = True, published: bool = True) -> "Survey":
        """Open a survey, bringing its schema up to date first if need be.

        Parameters
        ----------
        root : path
        read_only : bool
        published : bool
            False: an older snapshot is not wanted; what is read is the catalog as it is now.

        Raises
        ------
        ConfigError
            If there is no survey.
        SurveyBusy
            If another process is writing to it, and it is to be opened for writing, or there is no snapshot.
        """
        root = Path(root)
        if not (root / CATALOG).is_file():
            raise ConfigError(f"{root} is not a survey (`dbpipe init {root}` makes one)")
        if read_only:
            return cls(root, opening.open_to_read(root, current=not published))
        return cls(root, opening.open_to_write(root))

    @classmethod
    def init(cls, root: str | os.PathLike[str], *, instrument: str | os.PathLike[str] = "phosim-eimage") -> "Survey":
        """Make an empty survey and return it, open for writing.

        Parameters
        ----------
        root : path
            A folder that does not exist, or holds no survey yet.
        instrument : str or path
            Name of a description that comes with dbpipe, or a TOML file; it is copied into the survey, unless there is
            one in the folder. That one, and settings that are there, are `kept`.
        """
        root = Path(root)
        kept = opening.create(root, instrument)
        survey = cls.open(root, read_only=False)
        survey.kept = kept
        return survey

    def close(self) -> None:
        """Write everything to the catalog file, let readers see it if anything has changed, and let go of it.

        A survey that is closed already stays so.
        """
        if self._is_closed:
            return
        self._is_closed = True
        try:
            if isinstance(self._opened, opening.Writing):
                self._opened.publish_changes()
        finally:
            self._opened.close()

    @property
    def _is_writing(self) -> bool:
        return isinstance(self._opened, opening.Writing)

    def __enter__(self) -> "Survey":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        if error is None:
            self.close()
        elif isinstance(error, DbpipeError) and not isinstance(error, DiskError):
            with suppress(DbpipeError):  # the first error is the one to tell
                self.close()
        else:
            self._opened.close()  # stopped or broken: the next who opens it publishes what was committed

    @cached_property
    def settings(self) -> Settings:
        """The settings in force, `dbpipe.survey.settings.Settings`."""
        return read_settings(self.root / SETTINGS, order.sections())

    def sql(self, query: str, **parameters: Any) -> Answer:
        """Ask the catalog: ``survey.sql("SELECT ...").df()``; ``$name`` in the text takes a keyword argument.

        Raises
        ------
        ConfigError
            If the text is not one SELECT that only reads tables, or DuckDB refuses it.
        """
        return Answer(ask(self.connection, query, parameters))

    def fetch(self, query: str, **parameters: Any) -> "pa.Table":
        """Return the answer to a query as a pyarrow.Table; a query that DuckDB refuses is a ConfigError."""
        return fetch_answer(self.connection, query, parameters)

    def fetch_head(self, query: str, *, limit: int, **parameters: Any) -> tuple["pa.Table", int]:
        """Return the first rows of an answer as a pyarrow.Table, and the number of all its rows."""
        return fetch_head(self.connection, query, parameters, limit=limit)

    def named(self, name: str, **parameters: Any) -> "pa.Table":
        """Ask a question of the cookbook and return a pyarrow.Table: ``survey.named("around", ra=53.0, dec=-27.4)``."""
        recipe = find_recipe(name)
        return self.fetch(recipe.query, **recipe.bind(parameters))

    def write(self, path: str | os.PathLike[str], query: str, **parameters: Any) -> int:
        """Write the answer to a query to a file: Parquet, CSV, ECSV or JSON by its name; returns the number of rows."""
        return write_answer(self.connection, Path(path), query, parameters)

    def lend(self, name: str, path: str | os.PathLike[str]) -> None:
        """Let queries see a file (CSV, Parquet, FITS, ECSV, VOTable) as a table, until the survey closes.

        What is missing in it is NULL; ``stars.fits[2]`` is one of several tables.
        """
        from dbpipe.io.tables.table import read_table

        check_new_name(self.connection, name)
        table, _ = read_table(path)
        self.connection.register(name, table)

    def explain(self, dia_source_id: int) -> list[Section]:
        """Return where a DIASource comes from, a list of `dbpipe.ask.provenance.Section`."""
        return explain(self.connection, dia_source_id)

    def count(self, table: str) -> int:
        """Return how many rows a table or view has; a name that is not known is a ConfigError."""
        query = load_named("catalog", "introspection")["count"]
        ((n_row,),) = self.connection.execute(query, {"table": find_relation(self.connection, table)}).fetchall()
        return n_row

    def find_settled(
        self, names: Sequence[str | os.PathLike[str]], *, settle_s: float
    ) -> tuple[list[str], list[str], LeftAlone]:
        """Return the raw files among ``names`` that nobody is writing to, those that are, and what is left alone.

        See `dbpipe.survey.discover`; the first list can be given to `ingest`.
        """
        paths, left_alone = find_raw_files(names, leave_out=self.root)
        settled, growing = split_settled(paths, settle_s=settle_s)
        return settled, growing, left_alone

    def ingest(
        self,
        names: Sequence[str | os.PathLike[str]],
        *,
        n_worker: int | None = None,
        retry_failed: bool = False,
        report: "Report | None" = None,
    ) -> tuple["Summary", LeftAlone]:
        """Take raw files into the survey, or say why not; the files stay where they are.

        Parameters
        ----------
        names : sequence of path
            Files, folders or patterns, see `dbpipe.survey.discover.find_raw_files`.

        Returns
        -------
        (Summary, LeftAlone)
            What was done, and what was found and not taken.
        """
        from dbpipe.io.raw.instrument import load_instrument

        paths, left_alone = find_raw_files(names, leave_out=self.root)
        instrument = load_instrument(self.root / INSTRUMENT)
        settings = {"instrument_sha256": instrument.sha256, "retry_failed": retry_failed, "report": report}
        config = self.settings["ingest"]
        with self._run_record() as run_id, self._pool(n_worker) as pool:
            keywords: dict[str, Any] = {"run_id": run_id, "pool": pool, "root": self.root} | settings
            summary = intake.run_ingest(self.connection, config, paths, **keywords)
        return summary, left_alone

    def set_reference_catalog(
        self, path: str | os.PathLike[str], *, mapping: Mapping[str, Any] | None = None
    ) -> tuple[int, int]:
        """Read a reference catalog into the survey, in the place of the one it has.

        Parameters
        ----------
        path : path
            CSV, Parquet, FITS, ECSV or VOTable.
        mapping : dict, optional
            Meaning -> column name, e.g. {"ra": "RA_ICRS", "magnitudes": {"r": "rmag"}}; goes before the section
            [refcat] of the settings.

        Returns
        -------
        (int, int): the numbers of stars and magnitudes.
        """
        from dbpipe.survey.reference import store_from_file

        configured = {name: value for name, value in self.settings.as_dict()["refcat"].items() if value}
        return store_from_file(self.connection, Path(path), configured | dict(mapping or {}))

    def set_reference_from_exposure(self, visit: int) -> tuple[int, int]:
        """Make the stars of one raw exposure the reference catalog, where there is no better one."""
        from dbpipe.survey.reference import store_from_exposure

        return store_from_exposure(self.connection, self.root, visit, self.settings["calibrate"])

    def run(
        self,
        *,
        to: str | None = None,
        where: str | None = None,
        n_worker: int | None = None,
        retry_failed: bool = False,
        report: "Report | None" = None,
    ) -> list["Summary"]:
        """Do everything that is not done yet, up to a stage, and return a list of `Summary`.

        Parameters
        ----------
        to : str, optional
            Last stage.
        where : str, optional
            SQL condition on the columns of the work, e.g. "band = 'r'".
        n_worker : int, optional
            Processes; by default one per core.
        retry_failed : bool
            Try again what failed before although nothing has changed.
        report : dbpipe.runner.pipeline.Report, optional
            Is told of the progress.
        """
        options = Options(where=where, retry_failed=retry_failed)
        writing = self._writing
        was_published = writing.is_published()
        with self._run_record() as run_id, self._pool(n_worker) as pool:
            keywords: dict[str, Any] = {
                "run_id": run_id,
                "pool": pool,
                "root": self.root,
                "options": options,
                "report": report,
            }
            summaries = pipeline.run_all(self.connection, self.settings, to=to, **keywords)
        is_idle = not any(summary.n_unit or summary.n_removed for summary in summaries)
        writing.publish(same_rows=was_published and is_idle)
        return summaries

    def check_request(self, *, to: str | None = None, where: str | None = None) -> None:
        """Refuse what `run` would refuse, settings that are wrong among it, and do nothing."""
        _ = self.settings  # reading is checking
        pipeline.check_request(self.connection, to=to, where=where)

    def publish(self) -> datetime:
        """Let readers see the catalog as it is now; `run` does it at its end. Returns from when it is (UTC)."""
        return self._writing.publish()

    @property
    def _writing(self) -> "Writing":
        assert isinstance(self._opened, opening.Writing), "it was opened for reading"
        return self._opened

    def inject(
        self,
        *,
        where: str | None = None,
        n_worker: int | None = None,
        retry_failed: bool = False,
        report: "Report | None" = None,
    ) -> "Summary":
        """Put sources of known flux into copies of the exposures and find them again; returns the `Summary`.

        Only difference images that are there are looked at; their sources, files and tables stay as they are.
        Arguments as for `run`.
        """
        options = Options(where=where, retry_failed=retry_failed)
        with self._run_record() as run_id, self._pool(n_worker) as pool:
            keywords: dict[str, Any] = {
                "run_id": run_id,
                "pool": pool,
                "root": self.root,
                "options": options,
                "report": report,
            }
            summary = pipeline.run_stage(self.connection, INJECT, self.settings.inject, **keywords)
        self.publish()
        return summary

    def _pool(self, n_worker: int | None) -> WorkerPool:
        return WorkerPool(self.root, n_worker, limits=self.settings["run"])

    def templates(self, *, band: Sequence[str] | None = None) -> list[Any]:
        """Return the template decisions in force, a list of `dbpipe.template.decision.Decision`."""
        from dbpipe.template import choice  # with all that calculates PSFs: half a second that few commands need

        return choice.in_force(self.connection, band=band)

    def template_depth(self, *, band: Sequence[str] | None = None) -> "pa.Table":
        """Return predicted and measured depth of the difference images of the templates in force, a pyarrow.Table."""
        return fetch_table(self.connection, load_named("stages", "template")["depth"], {"band": band})

    def propose_template(self, *, band: Sequence[str] | None = None, **choice: Any) -> list["Decision"]:
        """Return what a choice would give, deciding nothing; see `dbpipe.template.choice.propose`."""
        from dbpipe.template.choice import propose

        return propose(self.connection, self.settings["template"], band=band, **choice)

    def decide_template(self, decisions: Sequence["Decision"]) -> None:
        """Put proposed decisions in force; the next run makes the warps, coadds and differences that follow."""
        from dbpipe.template.choice import decide

        with self._run_record() as run_id:
            decide(self.connection, self.settings["template"], decisions, run_id)

    @contextmanager
    def _run_record(self) -> Iterator[int]:
        command = clean(" ".join([Path(sys.argv[0]).name or "python", *sys.argv[1:]]))
        run_id = units.start_run(self.connection, command, outlook.versions(), self.settings.as_dict())
        yield run_id
        units.finish_run(self.connection, run_id)

    def light_curve(self, name: int | str) -> "pa.Table":
        """Return every epoch of an object, detected or not, in time: rows of the view light_curve, a pyarrow.Table.

        Parameters
        ----------
        name : int or str
            A dia_object_id, or "RA,DEC" in degrees; see `dbpipe.ask.light_curves.find_object`.
        """
        from dbpipe.ask import light_curves

        found = light_curves.find_object(self.connection, name)
        return light_curves.fetch_light_curve(self.connection, found.dia_object_id)

    def find_detections(self, dia_object_id: int) -> "pa.Table":
        """Return positions and fluxes of the DIASources of an object; quick in a catalog of any size.

        See `light_curve` for the epochs at which it was not detected.
        """
        from dbpipe.ask import lookup

        return lookup.find_detections(self.connection, dia_object_id)

    def draw_light_curve(self, path: str | os.PathLike[str], name: int | str, *, n_cutout: int = 4) -> Path:
        """Draw the light curve of an object with cutouts of a few epochs and return the path of the PNG."""
        from dbpipe.pictures.object_page import draw_object

        path = Path(path).absolute()
        with chdir(self.root):  # paths in the catalog are relative to the survey
            return draw_object(self.connection, path, name, n_cutout=n_cutout)

    def export(
        self, out: str | os.PathLike[str], *, tables: Sequence[str], where: str | None = None, overwrite: bool = False
    ) -> list[Path]:
        """Write tables or views and return the paths of the files.

        Parameters
        ----------
        out : path
            A folder, which gets one Parquet file per table; or, for one table, a file whose ending says the format.
        tables : list of str
        where : str, optional
            SQL condition on the rows.
        overwrite : bool
            Replace files that dbpipe did not make, too.
        """
        from dbpipe.publish.write import check_export, export

        paths = check_export(Path(out), tables, overwrite=overwrite)  # all of them before the first is written
        return [export(self.connection, p, table=name, where=where)[0] for p, name in zip(paths, tables, strict=True)]

    def export_layouts(
        self, out: str | os.PathLike[str], layouts: Sequence[str], *, margin_arcsec: float = 10.0
    ) -> "TreeReport":
        """Bring a folder of partitioned tables up to date; see `dbpipe.publish.tree.export_tree`.

        Parameters
        ----------
        out : path
        layouts : list of "night" and "hats"
        margin_arcsec : float
            Width of the HATS margins.
        """
        from dbpipe.publish.tree import export_tree

        if isinstance(self._opened, opening.Writing):
            self._opened.publish_changes()
        # a connection of its own: it may write to that folder, and so answers no questions
        with closing(opening.open_to_read(self.root, scratch=Path(out).absolute())) as opened:
            return export_tree(opened.connection, Path(out), layouts, margin_arcsec=margin_arcsec)

    def count_due(self) -> dict[str, int]:
        """Return how many units each stage would work on now."""
        return outlook.count_due(self.connection, self.settings)

    def find_outdated(self) -> list[Any]:
        """Return what an older dbpipe made and this one makes otherwise: a list of `outlook.Outdated`."""
        return outlook.find_outdated(self.connection)

    def check(self, *, check_hash: bool = False) -> list["Finding"]:
        """Apply every rule of a healthy catalog; see `dbpipe.catalog.checks.run_checks`."""
        keywords: dict[str, Any] = {
            "folder": self.checks_folder,
            "check_hash": check_hash,
            "who_writes": self.find_writer,
        }
        return checks.run_checks(self.connection, self.root, **keywords)

    def find_warnings(self) -> list["Finding"]:
        """Apply every check of quality; see `dbpipe.catalog.checks.run_warnings`."""
        return checks.run_warnings(self.connection, folder=self.checks_folder)

    @property
    def checks_folder(self) -> Path:
        """Where the user's own checks are."""
        return self.root / self.settings["check"].folder

    def find_writer(self) -> str:
        """Return who else is working on the survey, or has since it was opened; "" if nobody."""
        return "" if isinstance(self._opened, opening.Writing) else opening.find_writer(self.root, self._opened)

    def find_garbage(self) -> list[str]:
        """Return the products that the catalog does not name, relative to the survey."""
        return files.find_orphans(self.connection, self.root)

    def find_strangers(self) -> list[str]:
        """Return what else is under ``files/`` and not dbpipe's, relative to the survey: it is left alone."""
        return files.find_strangers(self.connection, self.root)

    def delete_garbage(self) -> list[str]:
        """Delete products that the catalog does not name and return them. Needs the survey open for writing.

        Raises
        ------
        CatalogError
            If it names what cannot be a product: it does not know then which files are its own.
        """
        files.check_names(self.connection, self.root)
        garbage = self.find_garbage()
        files.delete(self.root, garbage)
        return garbage
