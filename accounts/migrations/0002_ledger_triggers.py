from django.db import migrations

from accounts import triggers


class Migration(migrations.Migration):
    dependencies = [("accounts", "0001_initial")]
    operations = [
        migrations.RunPython(
            lambda apps, schema_editor: triggers.install_ledger(schema_editor),
            lambda apps, schema_editor: triggers.remove_ledger(schema_editor),
        )
    ]
