"""A start prepares what changed, and nothing else."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.management import call_command
from django.utils import timezone
from django.utils.module_loading import import_string
from django_q.models import Schedule

from storefront import preparing, schedules
from storefront.static_storage import HashedFiles


@pytest.fixture
def static(tmp_path, settings):
    """A project with one static file of its own and nothing collected yet."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "site.css").write_text("a {}")
    settings.STATICFILES_DIRS = [source]
    settings.STATICFILES_FINDERS = ["django.contrib.staticfiles.finders.FileSystemFinder"]
    settings.DATA_DIR = tmp_path
    settings.STATIC_ROOT = tmp_path / "static"
    return source


def test_static_files_are_collected_once(static, settings):
    assert preparing.collect_changed()
    assert (settings.STATIC_ROOT / "site.css").read_text() == "a {}"
    assert not preparing.collect_changed()


@pytest.mark.parametrize("change", ["edited", "added", "removed"])
def test_static_files_are_collected_again_after_a_change(static, change):
    (static / "other.css").write_text("b {}")
    preparing.collect_changed()

    if change == "edited":
        (static / "site.css").write_text("a { color: red }")
    elif change == "added":
        (static / "third.css").write_text("c {}")
    else:
        (static / "other.css").unlink()

    assert preparing.collect_changed()


def test_static_files_are_collected_again_where_the_collected_are_gone(static, settings):
    preparing.collect_changed()
    for path in settings.STATIC_ROOT.iterdir():
        path.unlink()
    settings.STATIC_ROOT.rmdir()

    assert preparing.collect_changed()


def installed():
    return {(s.name, s.func, s.schedule_type, s.minutes, s.repeats) for s in Schedule.objects.all()}


def test_static_files_are_compressed_quickly():
    """Brotli, where it is installed, would hold a start up for a minute."""
    compressor = HashedFiles().create_compressor(quiet=True)

    assert (compressor.use_gzip, compressor.use_brotli) == (True, False)


@pytest.mark.django_db
def test_schedules_are_those_of_the_table():
    call_command("install_schedules")

    assert installed() == {
        (job.function, job.function, Schedule.MINUTES, job.minutes, -1) for job in schedules.JOBS
    }


@pytest.mark.django_db
def test_schedules_installed_again_keep_when_they_run_next():
    schedules.install()
    later = timezone.now() + timedelta(minutes=7)
    Schedule.objects.update(next_run=later, minutes=3)

    schedules.install()

    assert set(Schedule.objects.values_list("next_run", flat=True)) == {later}
    assert {(s.func, s.minutes) for s in Schedule.objects.all()} == {
        (job.function, job.minutes) for job in schedules.JOBS
    }


@pytest.mark.django_db
def test_schedules_of_jobs_that_are_gone_are_removed_and_staffs_own_kept():
    Schedule.objects.create(name="old", func="orders.tasks.renamed")
    Schedule.objects.create(name="staff", func="django.core.management.call_command")

    schedules.install()

    assert set(Schedule.objects.values_list("name", flat=True)) == {
        "staff",
        *(job.function for job in schedules.JOBS),
    }


@pytest.mark.parametrize("job", schedules.JOBS, ids=lambda job: job.function)
def test_scheduled_function_exists(job):
    assert callable(import_string(job.function))


@pytest.mark.django_db
def test_prepare_twice_is_safe(static):
    preparing.prepare()
    before = installed()

    preparing.prepare()

    assert installed() == before
