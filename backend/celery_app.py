"""The queue. A message is a doorbell: it holds a run's id and says "look at the store", where the queue itself is kept.

So a message that is lost, delivered twice, or names a run that is not there does no harm: workers also look by themselves.
Acknowledged early, because Redis gives an unacknowledged message to another worker after an hour, however long a run takes.
"""

from __future__ import annotations

import logging

from celery import Celery

from backend.settings import redis_url

LAUNCH = "mtprl.launch"

log = logging.getLogger(__name__)

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
    worker_consumer="backend.doorbell:Doorbell",
    worker_send_task_events=False,
    worker_hijack_root_logger=False,
)


def ring(run_id: int) -> bool:
    """Tell the workers that a run waits or a device is free; whether the queue took the message. Raises nothing."""
    try:
        url = redis_url()
        if url is None:
            return False
        # The address is looked up each time: `mtprl up` may have started another Redis since this process began.
        with app.connection_for_write(url) as connection:
            app.send_task(LAUNCH, [run_id], connection=connection, retry=False)
    except Exception as error:
        # Whatever it is: the store has the run by now, a worker finds it by itself, and libraries refuse an address that
        # they cannot use with errors of any kind.
        log.debug("the doorbell of run %d was not heard: %r", run_id, error)
        return False
    return True
