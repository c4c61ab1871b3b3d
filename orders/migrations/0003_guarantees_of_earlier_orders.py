from django.db import migrations


def promise(apps, schema_editor):
    """Orders of services with refill came with the guarantee that services have by default."""
    Order = apps.get_model("orders", "Order")
    Order.objects.filter(service__refill=True, guarantee_days=None).update(guarantee_days=30)


class Migration(migrations.Migration):
    dependencies = [("orders", "0002_series_refills_history_mass")]

    operations = [migrations.RunPython(promise, migrations.RunPython.noop)]
