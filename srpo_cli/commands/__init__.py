"""One module a command. Each holds a function `command`, whose parameters are its options:

    def command(store: Store, world_model: ..., json: Json = False) -> None:
        '''One sentence for the list of commands.

        Example: `srpo encode runs/a/rollouts/000.zarr --world-model efficientnet-lite0`
        '''
        from stages.encode import encode_store           # heavy imports here, never at the top

        with progress("encode", "episodes") as tick:     # srpo_cli.console
            result = encode_store(store, ..., progress=tick)
        emit(result, json, show)                          # JSON for scripts, a table for a person

`srpo_cli/app.py` lists the commands, `srpo_cli/options.py` holds what they share; a user's mistake raises
`data.errors.UserError`.
"""
