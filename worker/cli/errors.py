"""How a command ends that cannot go on: one readable message, exit code 2."""

import asyncio
from collections.abc import Coroutine
from typing import Any, NoReturn, TypeVar

import typer
from rich.console import Console

T = TypeVar("T")

errors = Console(stderr=True)


def fail(message: str) -> NoReturn:
    """End the command with a message and exit code 2."""
    errors.print("[bold red]error:[/] ", end="")
    errors.print(message, highlight=False, markup=False, soft_wrap=True)
    raise typer.Exit(2)


def converse(work: Coroutine[Any, Any, T]) -> T:
    """Run a conversation with the broker; its absence is a readable error."""
    from aiokafka.errors import KafkaError

    from worker.kafka.topics import TopicsError

    try:
        return asyncio.run(work)
    except TopicsError as error:
        fail(str(error))
    except KafkaError as error:
        fail(f"{error}. Is the broker where kafka.bootstrap_servers (--broker) says?")
