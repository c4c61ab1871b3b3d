from django.db import migrations

from accounts import triggers


class Migration(migrations.Migration):
    dependencies = [("accounts", "0004_api_keys_webhooks_sandbox")]
    operations = [
        migrations.RunPython(
            lambda apps, schema_editor: triggers.install_play(schema_editor),
            lambda apps, schema_editor: triggers.remove_play(schema_editor),
        )
    ]
