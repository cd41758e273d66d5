"""Groups of commands; for an unknown name they suggest a similar one."""

from __future__ import annotations

import click

from mynamo.schemas.suggestions import suggestion


class Group(click.Group):
    """A group that suggests a command for a misspelt one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the first word names.

        Raises:
            click.UsageError: there is none of that name.
        """
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            likely = suggestion(name, self.list_commands(ctx))
            ctx.fail(f"No such command {name!r}{likely}")
        return super().resolve_command(ctx, args)
