from django.db import migrations, models
import django.db.models.functions.datetime


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0002_ledger_triggers'),
    ]

    operations = [
        migrations.CreateModel(
            name='JobAttempt',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('job', models.CharField(max_length=100, unique=True, verbose_name='job')),
                ('attempts', models.PositiveIntegerField(default=0, verbose_name='attempts')),
                ('last_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), verbose_name='last time')),
            ],
            options={
                'verbose_name': 'unfinished job',
                'verbose_name_plural': 'unfinished jobs',
                'ordering': ['-last_at', '-pk'],
            },
        ),
        migrations.AlterField(
            model_name='journalentry',
            name='kind',
            field=models.CharField(choices=[('charge', 'Order'), ('refund', 'Refund'), ('adjustment', 'Adjustment'), ('served', 'Served out of a reserve'), ('loss', 'Loss')], max_length=16, verbose_name='kind'),
        ),
        migrations.AlterField(
            model_name='posting',
            name='account',
            field=models.CharField(choices=[('wallet', 'Wallet'), ('sales', 'Sales'), ('adjustments', 'Adjustments'), ('reserved', 'Reserved for subscriptions'), ('losses', 'Losses')], max_length=16, verbose_name='account'),
        ),
    ]
