"""A ClientApp that answers, and a ServerApp that writes down when it did."""

import time
from pathlib import Path

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

client = ClientApp()
server = ServerApp()


@client.train()
def train(message: Message, context: Context) -> Message:
    """Send back what came."""
    return Message(message.content, reply_to=message)


@server.main()
def main(grid: Grid, context: Context) -> None:
    """Ask every node once."""
    while len(nodes := list(grid.get_node_ids())) < int(context.run_config["nodes"]):
        time.sleep(0.1)
    content = RecordDict({"nothing": ConfigRecord({"round": 1})})
    grid.send_and_receive([Message(content, node, "train") for node in nodes])
    Path(str(context.run_config["first-reply"])).write_text(str(time.time()))
