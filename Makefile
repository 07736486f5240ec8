# A short front for meson and ninja. Every target first installs the Debian packages that are
# missing (tools/packages), or says how to.
#
#   make            build; the programs are then in build/bin/
#   make run        mount IMAGE (default: a new one) at MNT (default: ./mnt), read-write
#   make demo       a checked tour: format, mount, copy SOURCE (default: /usr/share), compare, fsck
#   make test       build and run all tests
#   make sanitize   run the tests under Address-, UndefinedBehavior- and ThreadSanitizer
#   make fuzz       fuzz for SECONDS (default: 60) each target
#   make bench      measure beside ext4, bindfs, mke2fs and mksquashfs (root; takes long)
#   make install    install (PREFIX, DESTDIR)

BUILD ?= build
IMAGE ?=
MNT ?= ./mnt
SOURCE ?=
SECONDS ?= 60
PREFIX ?= /usr/local
DESTDIR ?=

.PHONY: all packages run demo test sanitize fuzz bench install clean

all: packages
	@tools/build $(BUILD) --prefix=$(PREFIX)

packages:
	@tools/install-packages

run: all
	@tools/run "$(BUILD)" "$(MNT)" "$(IMAGE)"

demo: all
	@tools/demo "$(BUILD)" "$(SOURCE)"

test: all
	@tools/test "$(BUILD)"

sanitize: packages
	@tools/sanitize

fuzz: packages
	@tools/fuzz "$(SECONDS)"

bench: all
	@tools/install-packages tools/packages-bench
	@tools/bench-write "$(BUILD)"
	@tools/bench-read "$(BUILD)"

install: all
	@meson configure $(BUILD) -Dprefix=$(PREFIX)
	@DESTDIR=$(DESTDIR) meson install -C $(BUILD) --quiet >/dev/null

clean:
	rm -rf build build-*
