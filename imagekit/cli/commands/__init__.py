"""The commands: one module each, whose ``command`` is the declaration."""

from imagekit.base.record import Record


class CommandEntry(Record):
    """A command's name, the module whose ``command`` it is, its line in the help, its section."""

    name: str
    module: str
    summary: str
    section: str


BUILD, CONTAINERS, IMAGES, REGISTRIES, OTHER = (
    "Build",
    "Containers",
    "Images",
    "Registries",
    "This machine",
)


def _entry(section: str, name: str, summary: str) -> CommandEntry:
    module = "import_" if name == "import" else name
    return CommandEntry(name=name, module=f"{__name__}.{module}", summary=summary, section=section)


COMMANDS = (
    _entry(BUILD, "build", "Build an image from a Dockerfile."),
    _entry(BUILD, "dockerfile", "Look into a Dockerfile."),
    _entry(CONTAINERS, "run", "Run a command in a new container."),
    _entry(CONTAINERS, "exec", "Run a further command in a running container."),
    _entry(CONTAINERS, "ps", "List containers."),
    _entry(CONTAINERS, "logs", "Show what a container wrote."),
    _entry(CONTAINERS, "stop", "Stop containers, by force after a while."),
    _entry(CONTAINERS, "kill", "Send a signal to containers."),
    _entry(CONTAINERS, "wait", "Wait until containers end and print their exit codes."),
    _entry(CONTAINERS, "rm", "Remove containers."),
    _entry(CONTAINERS, "commit", "Make an image from a container's changes."),
    _entry(IMAGES, "images", "List images."),
    _entry(IMAGES, "tag", "Give an image another name."),
    _entry(IMAGES, "rmi", "Remove images."),
    _entry(IMAGES, "history", "Show how an image was made."),
    _entry(IMAGES, "inspect", "Show everything known about images or containers."),
    _entry(IMAGES, "convert", "Give an image's layers another compression."),
    _entry(IMAGES, "import", "Make an image from a root file system."),
    _entry(IMAGES, "save", "Write images to an archive."),
    _entry(IMAGES, "load", "Read images from an archive."),
    _entry(REGISTRIES, "push", "Copy an image to a registry."),
    _entry(REGISTRIES, "pull", "Copy an image from a registry."),
    _entry(REGISTRIES, "login", "Store credentials of a registry."),
    _entry(REGISTRIES, "logout", "Forget credentials of a registry."),
    _entry(REGISTRIES, "registry", "Serve a registry."),
    _entry(OTHER, "system", "Show, free and check what is stored."),
    _entry(OTHER, "completion", "Print a completion script for a shell."),
    _entry(OTHER, "version", "Print the version."),
)
