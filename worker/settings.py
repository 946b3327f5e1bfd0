"""All settings.

Flags win over the environment (`PPRM_...`), which wins over the file, which wins over the defaults.

Nested names are joined by two underscores: `PPRM_KAFKA__BOOTSTRAP_SERVERS`. The file is TOML, named
by `PPRM_CONFIG` or `--config`. Unknown names are refused everywhere. This is the only module that
reads the environment.
"""

import os
import re
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from pydantic import (
    AwareDatetime,
    BaseModel,
    ByteSize,
    ConfigDict,
    Field,
    SecretStr,
    create_model,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from rich.table import Table

from pprm.serving import rules

PREFIX = "PPRM_"
SETTINGS_FILE = "PPRM_CONFIG"
OF_THE_TESTS = "PPRM_TEST_"
"""Names with our prefix that are not settings: the settings file, and what the tests read."""
OF_A_SERVICE = re.compile(
    r"_SERVICE_(HOST|PORT(_\w+)?)$|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$"
)
ADDRESS = re.compile(r"(tcp|udp|sctp)://")
"""What Kubernetes puts into a container's environment for a Service of its namespace.

One that is called `pprm` or `pprm-worker` shares our prefix:
https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
"""


Partitioner: TypeAlias = Literal["murmur2", "consistent_random", "any"]


class Section(BaseModel):
    """A group of settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Kafka(Section):
    """The broker and how to reach it."""

    bootstrap_servers: str = Field("127.0.0.1:9092", description="host:port, comma separated")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None
    allow_passwords_in_clear_text: bool = Field(
        False,
        description="take SASL_PLAINTEXT, which sends the password for anybody on the way to read",
    )
    ssl_cafile: Path | None = Field(
        None, description="CA certificates, PEM; the system's where unset"
    )
    session_timeout_seconds: float = Field(
        20.0, ge=3, le=300, description="how long a silent worker keeps its partitions"
    )
    commit_interval_seconds: float = Field(1.0, ge=0.1, le=60)
    instance_id: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9._-]{1,249}$",
        description="a name of this worker that outlives it: a restart"
        " within the session timeout moves nothing",
    )

    @model_validator(mode="after")
    def _credentials(self) -> "Kafka":
        if self.security_protocol.startswith("SASL") and not (
            self.sasl_username and self.sasl_password
        ):
            raise ValueError(
                f"{self.security_protocol} needs kafka.sasl_username and kafka.sasl_password"
            )
        if self.security_protocol == "SASL_PLAINTEXT" and not self.allow_passwords_in_clear_text:
            raise ValueError(
                "SASL_PLAINTEXT would send the password without TLS: set"
                " kafka.security_protocol to SASL_SSL, or kafka.allow_passwords_in_clear_text"
                " to true where the network itself is safe"
            )
        return self

    @model_validator(mode="after")
    def _certificates(self) -> "Kafka":
        if self.ssl_cafile and self.security_protocol.endswith("SSL"):
            try:
                ssl_context(self)
            except OSError as error:
                raise ValueError(
                    f"kafka.ssl_cafile {self.ssl_cafile} holds no CA certificates: {error}"
                ) from None
        return self


class Topics(Section):
    """Names and shape of the topics."""

    prefix: str = Field(
        "", max_length=64, pattern=r"^[A-Za-z0-9._-]*$", description="put before every name below"
    )
    # A line for each family of schemas/families.py; a test compares them. Fields made of that list
    # would be no names to mypy and to a reader's search, and reading its models would make
    # `pprm --help` a sixth slower; a registry without models would be a list more.
    purchases: str = "purchases"
    browses: str = "browses"
    reviews: str = "reviews"
    users: str = "users"
    requests: str = "requests"
    products: str = "products"
    recommendations: str = "recommendations"
    dead_letters: str = "dead-letters"
    partitions: int = Field(
        4,
        ge=1,
        le=10_000,
        description="of the user-keyed topics, which must all have the same number",
    )
    partitioner: Partitioner = Field(
        "murmur2",
        description="of all producers: murmur2 (Java, aiokafka, kafka-python),"
        " consistent_random (librdkafka); or any, then records are"
        " re-keyed to the partition that murmur2 gives their key",
    )
    replication: int = Field(1, ge=1, le=10, description="copies the broker keeps; 3 in production")

    def name(self, family: str) -> str:
        """Full name of a topic, e.g. of `purchases` or `dead_letters`."""
        return f"{self.prefix}{getattr(self, family)}"


class State(Section):
    """Where the RocksDB tables live."""

    directory: Path = Field(
        Path("data"),
        description="local, one per worker; lost data comes back from the changelog topic",
    )
    memory: ByteSize = Field(
        ByteSize(256 << 20),
        ge=16 << 20,
        description="for caches and write buffers, of all partitions together: 512MiB, 2GiB",
    )
    accept_lost: bool = Field(
        False,
        description="start although the changelog has lost states"
        " that nobody has: those shoppers start anew",
    )


class Model(Section):
    """The trained PPRM and where it runs."""

    directory: Path = Field(
        default_factory=lambda: Path(str(files("pprm"))) / "artifacts" / "complete-journey",
        description="an artifact made by `pprm train`",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="auto takes the GPU where there is one"
    )
    stages: int = Field(
        2,
        ge=1,
        le=2,
        description="1 is the lighter model: retrieval alone, a"
        " third of the time, .219 instead of .229 NDCG@10",
    )
    threads: int = Field(1, ge=1, le=256, description="CPU threads of one scoring call")
    encoder: Path | None = Field(
        None, description="BERT directory (Hugging Face layout); the bundled one where unset"
    )


class Products(Section):
    """The catalogue."""

    on_invalid: Literal["keep", "withdraw"] = Field(
        "keep",
        description="a record that cannot be read leaves its product as it was,"
        " or withdraws it: the shop's last word may have been to",
    )


if TYPE_CHECKING:
    RuleSettings = Section
else:
    RuleSettings = create_model("RuleSettings", __base__=Section, **rules.settings())


class Recommendations(RuleSettings):
    """What is published."""

    k: int = Field(10, ge=1, le=100, description="products per list")
    score_from: AwareDatetime | None = Field(
        None, description="events before this time are folded, not scored: a backfill"
    )
    batch_seconds: float = Field(
        0.25,
        ge=0.01,
        le=60,
        description="of work in a micro-batch, about: in a burst its lists come together",
    )
    refresh_hours: float = Field(
        24.0,
        ge=0,
        le=24 * 28,
        description="a list older than this is made again unasked; 0: none is",
    )
    refresh_active_days: int = Field(
        60, ge=1, le=3660, description="... of shoppers who did anything within these days"
    )
    refresh_share: float = Field(
        0.2, gt=0, le=1, description="of the time that it takes at most, while no event waits"
    )
    refresh_clock: Literal["stream", "wall"] = Field(
        "stream",
        description="by which lists grow old: that of the events in their partition,"
        " or the worker's, too, where nothing happens",
    )
    retract_seconds: float = Field(
        60.0,
        ge=1,
        le=86_400,
        description="within which a product that is withdrawn leaves all lists:"
        " after half of it, events wait for that",
    )
    publish: Literal["always", "changed"] = Field(
        "always",
        description="changed: a list with the products of the one before,"
        " in their order, is not sent again",
    )
    session_minutes: int = Field(
        30,
        ge=1,
        le=24 * 60,
        description="of rest, after which a visit is over; its list is made again then",
    )
    empty_catalogue: bool = Field(
        False,
        description="answer while no product is available, by lists"
        " without items; else events wait in Kafka",
    )


class Popularity(Section):
    """How workers tell each other what sells."""

    snapshot_seconds: float = Field(
        10.0, ge=0.1, le=3600, description="between two snapshots of a partition, at least"
    )


class Http(Section):
    """Metrics and health."""

    host: str = Field("127.0.0.1", description="loopback by default: nothing here asks who you are")
    port: int = Field(9464, ge=0, le=65535, description="0 takes any free port")


class Log(Section):
    """What the worker says."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    format: Literal["auto", "console", "json"] = Field(
        "auto", description="auto: console on a terminal, else JSON lines"
    )


class Settings(BaseSettings):
    """Everything that can be set."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    app_id: str = Field(
        "pprm",
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
        description="consumer group and name of the state's changelog",
    )
    delivery: Literal["at_least_once", "exactly_once"] = Field(
        "at_least_once",
        description="exactly_once writes states, lists and offsets"
        " in transactions; the broker must have them",
    )
    kafka: Kafka = Kafka()
    topics: Topics = Topics()
    state: State = State()
    model: Model = Model()
    products: Products = Products()
    recommendations: Recommendations = Recommendations()
    popularity: Popularity = Popularity()
    http: Http = Http()
    log: Log = Log()

    @property
    def changelog(self) -> str:
        """Name of the state table's changelog topic, as Faust forms it."""
        return f"{self.app_id}-user_state-changelog"

    @property
    def rekeyed_topic(self) -> str:
        """Name of the topic by which records come to the partition of their key."""
        return f"{self.app_id}-rekeyed"

    @property
    def popularity_topic(self) -> str:
        """Name of the topic in which workers tell each other what sells."""
        return f"{self.app_id}-popularity"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags, environment, file."""
        if path := os.environ.get(SETTINGS_FILE):
            return (
                init_settings,
                env_settings,
                TomlConfigSettingsSource(settings_cls, toml_file=path),
            )
        return init_settings, env_settings


class SettingsError(ValueError):
    """A setting is unknown or wrong; the message says which and what to do."""


def load(flags: Mapping[str, Any] | None = None) -> Settings:
    """Read the settings; `flags` are nested values that win over everything else.

    Raises:
        SettingsError: an unknown name, a value out of range, a file that cannot be read.
    """
    _refuse_unknown_environment()
    path = os.environ.get(SETTINGS_FILE)
    if path and not Path(path).is_file():
        raise SettingsError(
            f"the settings file {path} does not exist: correct --config or PPRM_CONFIG"
        )
    try:
        return Settings(**(flags or {}))
    except ValueError as error:
        raise SettingsError(_readable(error)) from error


def use_file(path: Path) -> None:
    """Take the settings from this file, in this process and its children."""
    os.environ[SETTINGS_FILE] = str(path)


def inherited_environment() -> dict[str, str]:
    """This process's environment, to hand to a child process."""
    return dict(os.environ)


def _refuse_unknown_environment() -> None:
    known = {SETTINGS_FILE, *_names(Settings)}
    for name, value in os.environ.items():
        ours = name.startswith(PREFIX) and not name.startswith(OF_THE_TESTS)
        if ours and name.upper() not in known and not _is_of_kubernetes(name, value):
            raise SettingsError(f"{name} is not a setting; `pprm config show` lists all names")


def _is_of_kubernetes(name: str, value: str) -> bool:
    """Whether the variable comes from a Service's name.

    `..._PORT` is an address there, a number where ours is misspelt.
    """
    return bool(OF_A_SERVICE.search(name) or (name.endswith("_PORT") and ADDRESS.match(value)))


def _names(model: type[BaseModel], prefix: str = PREFIX) -> list[str]:
    names = []
    for name, field in model.model_fields.items():
        nested = field.annotation
        if isinstance(nested, type) and issubclass(nested, BaseModel):
            names += _names(nested, f"{prefix}{name.upper()}__")
        names.append(f"{prefix}{name.upper()}")
    return names


def _readable(error: ValueError) -> str:
    errors = getattr(error, "errors", None)
    if errors is None:
        return str(error)
    return "\n".join(
        f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}"
        for e in errors(include_input=False)
    )


def describe(settings: Settings) -> Table:
    """All settings with their variables and meanings, for people; secrets masked."""
    table = Table(title="Settings", title_justify="left")
    table.add_column("environment variable", no_wrap=True)
    table.add_column("value", overflow="fold")
    table.add_column("meaning")
    for variable, value, meaning in _rows(settings, PREFIX):
        table.add_row(variable, value, meaning)
    return table


def _rows(section: BaseModel, prefix: str) -> Iterator[tuple[str, str, str]]:
    for name, field in type(section).model_fields.items():
        value, variable = getattr(section, name), f"{prefix}{name.upper()}"
        if isinstance(value, BaseModel):
            yield from _rows(value, f"{variable}__")
        else:
            yield variable, _shown(value), field.description or ""


def _shown(value: Any) -> str:
    if isinstance(value, ByteSize):
        return value.human_readable()
    return "" if value is None else str(value)


def client_settings(kafka: Kafka) -> dict[str, Any]:
    """Keyword arguments that every aiokafka client takes."""
    chosen: dict[str, Any] = {
        "bootstrap_servers": kafka.bootstrap_servers,
        "security_protocol": kafka.security_protocol,
    }
    if kafka.security_protocol.endswith("SSL"):
        chosen["ssl_context"] = ssl_context(kafka)
    if kafka.security_protocol.startswith("SASL"):
        assert kafka.sasl_password
        chosen |= {
            "sasl_mechanism": kafka.sasl_mechanism,
            "sasl_plain_username": kafka.sasl_username,
            "sasl_plain_password": kafka.sasl_password.get_secret_value(),
        }
    return chosen


def ssl_context(kafka: Kafka) -> Any:
    """TLS with hostname check and the CA given."""
    import ssl

    return ssl.create_default_context(cafile=str(kafka.ssl_cafile) if kafka.ssl_cafile else None)
