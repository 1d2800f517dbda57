"""The queue. A message is a doorbell: it holds a run's id and says "look at the store", where the queue itself is kept.

So a message that is lost, delivered twice, or names a run that is not there does no harm: workers also look by themselves.
Acknowledged early, because Redis gives an unacknowledged message to another worker after an hour, however long a run takes.
"""

from __future__ import annotations

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from backend.settings import redis_url

LAUNCH = "mtprl.launch"

app = Celery("mtprl", include=["backend.worker"])
app.conf.update(
    broker_url=redis_url(),
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_transport_options={"socket_connect_timeout": 2, "socket_keepalive": True},
    result_backend=None,
    task_ignore_result=True,
    task_acks_late=False,
    task_default_queue="mtprl",
    task_serializer="json",
    accept_content=["json"],
    worker_prefetch_multiplier=1,
    worker_send_task_events=False,
    worker_hijack_root_logger=False,
)


def ring(run_id: int) -> bool:
    """Tell the workers that a run waits or a device is free; whether the queue took the message. Raises nothing."""
    url = redis_url()
    if url is None:
        return False
    try:
        # The address is looked up each time: `mtprl up` may have started another Redis since this process began.
        with app.connection_for_write(url) as connection:
            app.send_task(LAUNCH, [run_id], connection=connection, retry=False)
    except (OperationalError, RedisError, OSError):
        return False
    return True
