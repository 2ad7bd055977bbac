"""Build checks for a request: files read, images asked, and builds refused."""

import io
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from imagekit.build.checking import FindConfig, check, config_at, refuse_findings
from imagekit.build.request import BuildRequest
from imagekit.config import Settings
from imagekit.dockerfile.errors import DockerfileError
from imagekit.engine import Engine
from imagekit.images.errors import ImageNotFoundError
from imagekit.images.local import LocalImages
from imagekit.oci import mediatype
from imagekit.oci.descriptor import Descriptor
from imagekit.oci.digest import Digest
from imagekit.oci.image_config import ContainerConfig, ImageConfig
from imagekit.oci.manifest import Index, Manifest
from imagekit.oci.platform import Platform
from imagekit.registry.errors import NoSuchPlatformError, NotFoundError, UnreachableError

_AMD64 = Platform("linux", "amd64")


def _config(*env: str, platform: Platform = _AMD64, **fields: Any) -> ImageConfig:
    return ImageConfig(platform=platform, config=ContainerConfig(env=env, **fields))


def _nothing(_name: str, _platform: Platform | None) -> ImageConfig | None:
    return None


def _found(tmp_path: Path, text: str, find: FindConfig = _nothing, **request: Any) -> list[str]:
    (tmp_path / "Dockerfile").write_text(text)
    report = check(BuildRequest(context=tmp_path, platform=_AMD64, **request), find)
    assert report.error is None, report.error
    return [f"{finding.rule} {finding.span.first_line}" for finding in report.findings]


class TestFiles:
    def test_the_ignore_file_counts(self, tmp_path: Path) -> None:
        (tmp_path / ".dockerignore").write_text("log\n")

        assert _found(tmp_path, "FROM scratch\nCOPY log /\n") == ["CopyIgnoredFile 2"]

    def test_the_name_is_that_below_the_context(self, tmp_path: Path) -> None:
        (tmp_path / "docker").mkdir()
        path = tmp_path / "docker" / "x.Dockerfile"
        path.write_text("FROM scratch\n")

        report = check(BuildRequest(context=tmp_path, dockerfile=path), _nothing)

        assert report.file_name == "docker/x.Dockerfile"

    def test_text_may_be_given(self, tmp_path: Path) -> None:
        request = BuildRequest(context=tmp_path, dockerfile_text="FROM scratch as b\n")

        assert [finding.rule for finding in check(request, _nothing).findings] == ["FromAsCasing"]


class TestRequest:
    def test_arguments_and_target_reach_the_rules(self, tmp_path: Path) -> None:
        text = "ARG V\nFROM x:$V AS a\nCOPY $y .\nFROM x AS b\nCOPY $z $TARGETSTAGE\n"

        assert _found(tmp_path, text, build_args={"V": "1"}, target="a") == [
            "InvalidDefaultArgInFrom 2",
            "UndefinedVar 3",
        ]

    def test_the_platform_is_the_target(self, tmp_path: Path) -> None:
        text = "FROM --platform=$TARGETPLATFORM x\nARG TARGETARCH\nCOPY $TARGETARCH .\n"
        config = _config(platform=Platform("linux", "arm64"))

        assert _found(tmp_path, text, lambda _name, _platform: config) == [
            "RedundantTargetPlatform 1",
            "InvalidBaseImagePlatform 1",
        ]

    def test_named_contexts_stand_in_for_images(self, tmp_path: Path) -> None:
        asked: list[str] = []

        def find(name: str, _platform: Platform | None) -> ImageConfig:
            asked.append(name)
            return _config("HERE=1")

        contexts = {"a": "docker-image://debian", "b": "/src"}
        text = "FROM a\nCOPY $HERE .\nFROM c\nCOPY --from=b x .\n"

        assert _found(tmp_path, text, find, build_contexts=contexts) == []
        assert asked == ["debian", "c"]


class TestImages:
    def test_environment_shell_and_triggers_are_seen(self, tmp_path: Path) -> None:
        config = _config("A=1", "B=", shell=("x",), on_build=("COPY $C .",))

        text = "FROM x\nCOPY $A $B .\nCMD y\n"
        assert _found(tmp_path, text, lambda _name, _platform: config) == ["UndefinedVar 1"]

    def test_the_platform_of_from_is_asked_for(self, tmp_path: Path) -> None:
        asked: list[tuple[str, Platform | None]] = []

        def find(name: str, platform: Platform | None) -> ImageConfig | None:
            asked.append((name, platform))
            return None

        _found(tmp_path, "FROM --platform=linux/arm64 a AS arm64\nFROM b\n", find)

        assert asked == [("a", Platform("linux", "arm64")), ("b", _AMD64)]

    def test_an_image_is_asked_for_once(self, tmp_path: Path) -> None:
        asked: list[str] = []

        def find(name: str, _platform: Platform | None) -> ImageConfig | None:
            asked.append(name)
            return None

        _found(tmp_path, "FROM a\nFROM a\nCOPY --from=a x .\n", find)

        assert asked == ["a"]

    def test_an_unreachable_registry_is_asked_once(self, tmp_path: Path) -> None:
        asked: list[str] = []

        def find(name: str, _platform: Platform | None) -> ImageConfig | None:
            asked.append(name)
            raise UnreachableError("no route")

        (tmp_path / "Dockerfile").write_text("FROM a\nFROM b\nCOPY $x .\nCOPY --from=c x .\n")
        report = check(BuildRequest(context=tmp_path), find)

        assert asked == ["a"]
        assert report.error is None
        assert report.unknown_images == ("a", "b")
        assert [finding.rule for finding in report.findings] == ["UndefinedVar"]

    def test_an_image_that_is_not_there_is_a_mistake_of_its_line(self, tmp_path: Path) -> None:
        def find(_name: str, _platform: Platform | None) -> ImageConfig | None:
            raise NotFoundError("docker.io/library/nope:latest is not at the registry", status=404)

        (tmp_path / "Dockerfile").write_text("\nFROM nope\nCOPY $x .\n")
        report = check(BuildRequest(context=tmp_path), find)

        assert report.findings == ()
        assert report.error is not None
        assert report.error.message == (
            "nope: docker.io/library/nope:latest is not at the registry"
        )
        assert report.error.span is not None
        assert report.error.span.first_line == 2


class _NoImages:
    def resolve(self, name: str) -> Any:
        raise ImageNotFoundError(f"no {name}")


class TestRefusing:
    def _refuse(self, tmp_path: Path, text: str, **request: Any) -> list[str]:
        (tmp_path / "Dockerfile").write_text(text)
        pulled: list[str] = []

        def pull(name: str, _platform: Platform | None) -> Any:
            pulled.append(name)
            return type("Image", (), {"config": _config()})

        images = cast("LocalImages", _NoImages())
        refuse_findings(BuildRequest(context=tmp_path, platform=_AMD64, **request), images, pull)
        return pulled

    def test_the_rules_are_named(self, tmp_path: Path) -> None:
        with pytest.raises(DockerfileError) as caught:
            self._refuse(tmp_path, "# check=error=true\nFROM x as b\nCMD y\n")

        assert caught.value.message == (
            "lint violation found for rules: FromAsCasing, JSONArgsRecommended"
        )
        assert caught.value.hint is not None

    def test_a_good_file_passes_with_what_the_build_needs_pulled(self, tmp_path: Path) -> None:
        text = "# check=error=true\nFROM a\nCOPY $x .\nFROM b\n"

        assert self._refuse(tmp_path, text) == ["b"]

    def test_without_error_nothing_is_refused(self, tmp_path: Path) -> None:
        assert self._refuse(tmp_path, "FROM a as B\n") == ["a"]

    def test_the_argument_decides(self, tmp_path: Path) -> None:
        with pytest.raises(DockerfileError):
            self._refuse(
                tmp_path,
                "# check=skip=all\nFROM a as b\n",
                build_args={"BUILDKIT_DOCKERFILE_CHECK": "error=true"},
            )

    def test_other_mistakes_are_left_to_the_build(self, tmp_path: Path) -> None:
        assert self._refuse(tmp_path, "# check=error=true\nFROM a\nWORKDIR ${x:y}\n") == ["a"]


class _Source:
    """Documents by digest, and one name."""

    def __init__(self) -> None:
        self.content: dict[Digest, bytes] = {}
        self.opened: list[Digest] = []
        self.root: Descriptor | None = None

    def add(self, raw: bytes, media_type: str, platform: Platform | None = None) -> Descriptor:
        digest = Digest.of(raw)
        self.content[digest] = raw
        self.root = Descriptor(
            media_type=media_type, digest=digest, size=len(raw), platform=platform
        )
        return self.root

    def resolve(self, reference: str) -> Descriptor:
        assert reference == "x:1"
        assert self.root is not None
        return self.root

    def open(self, descriptor: Descriptor, offset: int = 0) -> io.BytesIO:
        self.opened.append(descriptor.digest)
        return io.BytesIO(self.content[descriptor.digest][offset:])


class TestConfigAt:
    def _image(self, source: _Source, platform: Platform, *env: str) -> Descriptor:
        config = source.add(_config(*env, platform=platform).to_json(), mediatype.OCI_CONFIG)
        layer = Descriptor(media_type=mediatype.OCI_LAYER_GZIP, digest=Digest.of(b"layer"), size=5)
        manifest = Manifest.build(config=config, layers=[layer])
        return source.add(manifest.raw, mediatype.OCI_MANIFEST, platform)

    def test_an_image_is_read_without_its_layers(self) -> None:
        source = _Source()
        self._image(source, _AMD64, "A=1")

        assert config_at(source, "x:1", _AMD64).config.env == ("A=1",)
        assert len(source.opened) == 2

    def test_an_index_gives_the_image_of_the_platform(self) -> None:
        source = _Source()
        arm = Platform("linux", "arm64")
        images = [self._image(source, arm, "A=arm"), self._image(source, _AMD64, "A=amd")]
        source.add(Index.build(manifests=images).raw, mediatype.OCI_INDEX)

        assert config_at(source, "x:1", arm).config.env == ("A=arm",)
        with pytest.raises(NoSuchPlatformError):
            config_at(source, "x:1", Platform("linux", "s390x"))

    def test_an_index_in_an_index_is_refused(self) -> None:
        source = _Source()
        inner = source.add(
            Index.build(manifests=[self._image(source, _AMD64)]).raw, mediatype.OCI_INDEX, _AMD64
        )
        source.add(Index.build(manifests=[inner]).raw, mediatype.OCI_INDEX)

        with pytest.raises(NoSuchPlatformError):
            config_at(source, "x:1", _AMD64)


class TestEngine:
    def test_a_build_is_refused_when_the_file_asks_for_it(self, tmp_path: Path) -> None:
        text = "# check=error=true\nFROM scratch as b\nLABEL a=b\n"
        request = BuildRequest(context=tmp_path, dockerfile_text=text)
        skipped = {"BUILDKIT_DOCKERFILE_CHECK": "skip=FromAsCasing;error=true"}

        with Engine(Settings(root=tmp_path / "root")) as engine:
            with pytest.raises(DockerfileError, match="rules: FromAsCasing"):
                engine.build(request)
            built = engine.build(msgspec.structs.replace(request, build_args=skipped))
            assert built.steps == 0

    def test_malformed_options_are_refused(self, tmp_path: Path) -> None:
        request = BuildRequest(context=tmp_path, dockerfile_text="# check=x\nFROM scratch\n")

        with (
            Engine(Settings(root=tmp_path / "root")) as engine,
            pytest.raises(DockerfileError, match="failed to parse check options"),
        ):
            engine.build(request)

    def test_images_that_are_here_are_known_without_a_registry(self, tmp_path: Path) -> None:
        built = BuildRequest(
            context=tmp_path, tags=("base:1",), dockerfile_text="FROM scratch\nENV HERE=1\n"
        )
        request = BuildRequest(
            context=tmp_path, dockerfile_text="FROM base:1\nLABEL a=$HERE b=$THERE\nFROM other\n"
        )

        with Engine(Settings(root=tmp_path / "root")) as engine:
            engine.build(built)
            report = engine.check(request, fetch=False)

        assert [finding.message for finding in report.findings] == [
            "Usage of undefined variable '$THERE' (did you mean $HERE?)"
        ]
        assert report.unknown_images == ("other",)
