from django.db import migrations

from catalog import triggers


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0003_accounts_for_reserves_and_losses"),
        ("catalog", "0003_play_orders_and_changes"),
    ]
    operations = [
        migrations.RunPython(
            lambda apps, schema_editor: triggers.install(schema_editor),
            lambda apps, schema_editor: triggers.remove(schema_editor),
        )
    ]
