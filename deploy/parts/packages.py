"""Image, systemd unit and Debian package, as far as they can be had without an engine or a running systemd."""

import os
import re
import shutil
from pathlib import Path

import tools

from parts.base import Deploy

# Of the whole image, by the issue that asked for it.
IMAGE_BYTES_MAX = 20_000_000
# `systemd-analyze security`: 0 is a sandbox, 10 is none.
EXPOSURE_MAX = 1.5
CARGO_DEB = "3.8.0"

# Runs a command in a directory that is all it sees, read-only, as the image's user. Mounts end with the namespace.
_INSIDE = """
set -eu
root=$1
shift
mount --make-rprivate /
mount --bind "$root" "$root"
mkdir -p "$root/proc"
mount -t proc proc "$root/proc"
mount -o remount,bind,ro "$root"
exec chroot --userspec=65532:65532 "$root" "$@"
"""


def check(deploy: Deploy) -> None:
    if not deploy.relay.is_file():
        deploy.report.that("a release build", False, f"{deploy.relay}", "nothing: cargo build --release")
        return
    _image(deploy)
    _unit(deploy)
    _debian(deploy)


def _image(deploy: Deploy) -> None:
    root = deploy.scratch / "rootfs"
    # Where CI runs as root its scratch directory is root's alone; the image's user has to pass.
    deploy.scratch.chmod(0o755)
    deploy.succeeds(
        "the image's files are assembled", deploy.deploy / "docker" / "rootfs", deploy.relay, root
    )
    files = [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
    size = sum(path.stat().st_size for path in files)
    deploy.report.that("the image is small", 0 < size < IMAGE_BYTES_MAX, f"< {IMAGE_BYTES_MAX} bytes", size)
    print(f"#    {size / 1e6:.1f} MB in {len(files)} files")
    programs = {
        str(path.relative_to(root)) for path in files if os.access(path, os.X_OK) and ".so" not in path.name
    }
    deploy.report.equal("the image has one program and no shell", {"flinkrelay"}, programs)
    if os.geteuid() or not shutil.which("unshare"):
        deploy.report.that("a namespace to run it in", False, "root and unshare", "neither or not both")
        return
    (root / "etc" / "hosts").write_text("127.0.0.1 localhost\n")
    file = root / "etc" / "flinkrelay" / "flinkrelay.yaml"
    shutil.copy(deploy.deploy / "systemd" / "flinkrelay.yaml", file)
    inside = [
        "unshare",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "sh",
        "-c",
        _INSIDE,
        "inside",
        root,
        "/flinkrelay",
    ]
    version = deploy.run(*inside, "--version").stdout.strip()
    deploy.report.that(
        "it runs with nothing else around it", version.startswith("flinkrelay "), "its version", version
    )
    deploy.succeeds(
        "it reads a configuration there", *inside, "check", "-c", "/etc/flinkrelay/flinkrelay.yaml"
    )
    deploy.succeeds(
        "it scrapes, pushes and delivers there", *inside, "demo", "--for", "3s", "--interval", "500ms"
    )
    # Port 1 of a name: that the connection is refused shows that the name was resolved, by the C library of the image.
    named = deploy.run(
        *inside, "scrape", "--target", "http://localhost:1/", "--timeout", "2s", "--flink-rest", "off"
    )
    said = named.stdout + named.stderr
    deploy.report.that(
        "names are resolved there", "refused" in said.lower(), "connection refused", said[-600:]
    )


def _unit(deploy: Deploy) -> None:
    analyze = shutil.which("systemd-analyze")
    if not analyze:
        print("skip systemd-analyze is not installed: the unit is not verified")
        return
    # It wants the programs to be there, which they are only where the package is installed.
    text = (deploy.deploy / "systemd" / "flinkrelay.service").read_text()
    unit = deploy.scratch / "flinkrelay.service"
    unit.write_text(text.replace("/usr/bin/flinkrelay", str(deploy.relay)))
    done = deploy.run(analyze, "verify", "--man=no", unit)
    said = [line for line in (done.stdout + done.stderr).splitlines() if "flinkrelay" in line]
    deploy.report.that(
        "systemd takes the unit",
        done.returncode == 0 and not said,
        "no complaint",
        "\n".join(said) or done.stderr[-600:],
    )
    done = deploy.run(analyze, "security", "--offline=true", "--no-pager", unit)
    level = re.search(r"exposure level.*?: ([\d.]+)", done.stdout)
    got = float(level[1]) if level else done.stderr[-600:]
    deploy.report.that(
        "the unit is locked up",
        bool(level) and got <= EXPOSURE_MAX,
        f"exposure of at most {EXPOSURE_MAX}",
        got,
    )


def _debian(deploy: Deploy) -> None:
    directory = tools.cache() / "tools" / f"cargo-deb-{CARGO_DEB}"
    if not (directory / "bin" / "cargo-deb").is_file():
        made = directory.with_suffix(".making")
        install = [
            "cargo",
            "install",
            "--quiet",
            "--locked",
            "--root",
            made,
            "--version",
            CARGO_DEB,
            "cargo-deb",
        ]
        done = deploy.run(*install)
        if done.returncode:
            raise RuntimeError(f"cargo install cargo-deb failed: {done.stderr.strip()[-1000:]}")
        shutil.rmtree(directory, ignore_errors=True)
        made.rename(directory)
    package = deploy.scratch / "flinkrelay.deb"
    target = deploy.scratch / "target"
    (target / "release").mkdir(parents=True)
    shutil.copy(deploy.relay, target / "release" / "flinkrelay")
    argv = [directory / "bin" / "cargo-deb", "--no-build", "--no-strip", "--fast", "--output", package]
    done = deploy.run(*argv, cwd=deploy.root, env=os.environ | {"CARGO_TARGET_DIR": str(target)})
    deploy.report.that(
        "cargo deb makes a package", done.returncode == 0, "exit code 0", done.stderr.strip()[-1500:]
    )
    if done.returncode:
        return
    listed = deploy.run("dpkg-deb", "--contents", package).stdout
    found = {
        line.split()[5].removeprefix(".") for line in listed.splitlines() if not line.split()[5].endswith("/")
    }
    expected = {
        "/usr/bin/flinkrelay",
        "/etc/flinkrelay/flinkrelay.yaml",
        "/usr/lib/systemd/system/flinkrelay.service",
        "/usr/share/doc/flinkrelay/example.yaml",
    }
    # Older releases of the tool have /lib instead of /usr/lib.
    found = {
        path.replace("/lib/systemd", "/usr/lib/systemd") if path.startswith("/lib/") else path
        for path in found
    }
    deploy.report.that(
        "the package holds what it should", expected <= found, str(sorted(expected)), sorted(found)
    )
    unpacked = deploy.scratch / "unpacked"
    deploy.succeeds("it can be unpacked", "dpkg-deb", "--raw-extract", package, unpacked)
    control = (unpacked / "DEBIAN" / "control").read_text()
    deploy.report.that("it says what it depends on", "libc6" in control, "libc6 among Depends", control)
    conffiles = (unpacked / "DEBIAN" / "conffiles").read_text().split()
    deploy.report.equal(
        "an upgrade keeps a person's configuration", ["/etc/flinkrelay/flinkrelay.yaml"], conffiles
    )
    deploy.report.equal(
        "the default configuration is taken",
        "",
        deploy.rejected("debian", Path(unpacked / "etc/flinkrelay/flinkrelay.yaml").read_text()),
    )
