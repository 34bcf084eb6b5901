"""``tunesmith chat``: talk to a model in the terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Annotated

import typer

from tunesmith.cli.console import JsonOption, session


def chat(
    model: Annotated[str, typer.Argument(help="Run folder, adapter folder, released name, model folder or name.")],
    message: Annotated[str | None, typer.Option("--message", "-m", help="Ask this once and end.")] = None,
    system: Annotated[str, typer.Option("--system", help="System message.")] = "",
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1, help="Longest answer in tokens.")] = 512,
    temperature: Annotated[
        float, typer.Option("--temperature", min=0.0, max=2.0, help="0 gives the likeliest answer.")
    ] = 0.0,
    json: JsonOption = False,
) -> None:
    """Talk to a model. Ctrl-D ends."""
    with session(json) as console:
        from tunesmith import serve as serving
        from tunesmith.core.errors import InputError
        from tunesmith.core.records import Message, SamplingParams
        from tunesmith.core.store import Workspace

        if message is not None and not message.strip():
            raise InputError(
                "the message is empty",
                where="--message",
                rule="a question has words",
                fix="give --message TEXT, or leave it out for a conversation",
            )
        if json and not message:
            raise InputError(
                "--json needs a message",
                where="--json",
                rule="a conversation has no single result; one answer has",
                fix="add --message TEXT",
            )
        params = SamplingParams(max_tokens=max_tokens, temperature=temperature)
        talk = serving.open_chat(model, params, Workspace.open(), console.emit)
        history = [Message.model_validate({"role": "system", "content": system})] if system else []
        while True:
            question = message or _ask()
            if question is None:
                console.print("")
                return
            if not question.strip():
                continue
            history.append(Message.model_validate({"role": "user", "content": question}))
            console.pause()
            try:
                answer = _answer(talk(history), quiet=json)
            except InputError as error:
                if message:
                    raise
                history.pop()  # a question that was refused is not part of the conversation
                console.print(str(error))
                continue
            console.print("")
            history.append(Message.model_validate({"role": "assistant", "content": answer}))
            if message:
                console.result({"model": model, "message": message, "answer": answer})
                return


def _answer(pieces: Iterator[str], quiet: bool) -> str:
    """Show the answer as it comes, control characters taken out; gives the whole of it."""
    from tunesmith.cli.failures import clean

    whole = []
    for piece in pieces:
        whole.append(piece)
        if not quiet:
            sys.stdout.write(clean(piece))
            sys.stdout.flush()
    return "".join(whole)


def _ask() -> str | None:
    try:
        return input("> ")
    except EOFError:
        return None
