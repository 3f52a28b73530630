# lag: build, test, demo. `make help` lists the targets.
VARIANT ?= release
BUILD := build/$(VARIANT)
ROOMS := base model growth trainer study api server
PACKAGES := libmicrohttpd libcjson libuv sqlite3 nettle openblas
PREFIX ?= /usr/local
CFLAGS_release := -O2 -g
CFLAGS_test := -O2 -g -DLAG_FAULTS
CFLAGS_asan := -O1 -g -DLAG_FAULTS -fsanitize=address,undefined -fno-omit-frame-pointer -fno-sanitize-recover=undefined
CFLAGS_tsan := -O1 -g -DLAG_FAULTS -fsanitize=thread
WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wconversion -Wno-sign-conversion
ALL_CFLAGS = -std=c17 -D_GNU_SOURCE $(WARNINGS) -fopenmp-simd -I. $(shell pkg-config --cflags $(PACKAGES)) \
	$(CFLAGS_$(VARIANT)) $(CFLAGS)
ALL_LDFLAGS = $(filter -fsanitize%,$(CFLAGS_$(VARIANT))) $(LDFLAGS)
LIBS = $(shell pkg-config --libs $(PACKAGES)) -lm -lpthread

.DEFAULT_GOAL := lag
ARCHIVES := $(foreach room,$(ROOMS),$(BUILD)/lib$(room).a)
SOURCES = $(filter-out server/main.c,$(wildcard $(1)/*.c))
# What a room may link: itself and the rooms before it.
upto = $(if $(filter $(1),$(2)),$(2),$(if $(2),$(firstword $(2)) $(call upto,$(1),$(wordlist 2,99,$(2)))))
REVERSED := server api study trainer growth model base
link_of = $(foreach room,$(call after,$(1),$(REVERSED)),$(BUILD)/lib$(room).a)
after = $(if $(2),$(if $(filter $(1),$(firstword $(2))),$(2),$(call after,$(1),$(wordlist 2,99,$(2)))))

define ROOM_RULES
$(BUILD)/lib$(1).a: $(patsubst %.c,$(BUILD)/%.o,$(call SOURCES,$(1)))
	@rm -f $$@ && ar rcs $$@ $$^
$(BUILD)/tests/$(1)/%: $(BUILD)/tests/$(1)/%.o $(patsubst %.c,$(BUILD)/%.o,$(wildcard tests/support/*.c)) $(call link_of,$(1))
	$(CC) $(ALL_LDFLAGS) -o $$@ $$^ -lcmocka -lcurl $$(LIBS)
TESTS += $(patsubst %.c,$(BUILD)/%,$(wildcard tests/$(1)/test_*.c))
LONG_TESTS += $(patsubst %.c,$(BUILD)/%,$(wildcard tests/$(1)/long_*.c))
endef
$(foreach room,$(ROOMS),$(eval $(call ROOM_RULES,$(room))))

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/lag: $(BUILD)/server/main.o $(call link_of,server)
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIBS)
lag: build/release/lag
	cp $< $@

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
.SECONDARY:
