# lag: build, test, demo. `make help` lists the targets. VARIANT is release, test, asan or tsan; each has a build folder.
VARIANT ?= release
BUILD := build/$(VARIANT)
ROOMS := base model growth trainer study api server
PACKAGES := libmicrohttpd libcjson libuv sqlite3 nettle openblas
PREFIX ?= /usr/local
CFLAGS_release := -O2 -g
CFLAGS_test := -O2 -g -DLAG_FAULTS
CFLAGS_asan := -O1 -g -DLAG_FAULTS -fsanitize=address,undefined -fno-omit-frame-pointer -fno-sanitize-recover=undefined
CFLAGS_tsan := -O1 -g -DLAG_FAULTS -fsanitize=thread
# Messages are cut to their buffers on purpose: snprintf does it.
WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wconversion -Wno-sign-conversion -Wno-format-truncation
# pkg-config is asked once, when the first recipe needs it: `make test` and `make demo` install it before that.
ask_packages = $(or $(shell pkg-config $(1) $(PACKAGES)),$(error Libraries are missing; `make deps` installs them))
PACKAGE_CFLAGS = $(eval PACKAGE_CFLAGS := $(call ask_packages,--cflags))$(PACKAGE_CFLAGS)
PACKAGE_LIBS = $(eval PACKAGE_LIBS := $(call ask_packages,--libs))$(PACKAGE_LIBS)
ALL_CFLAGS = -std=c17 -D_GNU_SOURCE $(WARNINGS) -fopenmp-simd -I. $(PACKAGE_CFLAGS) $(CFLAGS_$(VARIANT)) $(CFLAGS)
ALL_LDFLAGS = $(filter -fsanitize%,$(CFLAGS_$(VARIANT))) $(LDFLAGS)
LIBS = $(PACKAGE_LIBS) -lm -lpthread
COMPILE = @mkdir -p $(@D) && echo "  cc   $@" && $(CC) $(ALL_CFLAGS) $(FLAGS_$*) -MMD -MP -c -o $@ $<
LINK = @mkdir -p $(@D) && echo "  link $@" && $(CC) $(ALL_LDFLAGS) -o $@ $(filter %.o %.a,$^)

# Flags of one source:                   FLAGS_<source without .c> := …
# One source compiled in several forms:  FORMS_<source without .c> := <form> …, each form with FORM_FLAGS_<form> := …
# It becomes the objects <source>.<form>.o instead of <source>.o, and LAG_FORM is defined as the form's name: functions
# are named with it (by ## pasting), a table of functions picks one at run time. Forms of another processor are left out.
X86 := $(filter x86_64,$(shell uname -m))
FORM_FLAGS_avx2 := -mavx2 -mfma
FORM_FLAGS_avx512 := -mavx2 -mfma -mavx512f -mavx512dq -mavx512bw -mavx512vl
FORM_FLAGS_avx512bf16 := $(FORM_FLAGS_avx512) -mavx512bf16
FORM_FLAGS_amx := $(FORM_FLAGS_avx512bf16) -mamx-tile -mamx-bf16
FORM_FLAGS_float := -DLAG_REAL=float
FORM_FLAGS_double := -DLAG_REAL=double
FORMS := portable avx2 avx512 avx512bf16 amx float double
FORMS_model/kernels_ref := float double
FLAGS_model/kernels_ref := -ffp-contract=off
FORMS_model/kernels_cpu := portable $(if $(X86),avx2 avx512)
FORMS_model/kernels_bf16_packed := $(if $(X86),avx512bf16 amx)
FLAGS_model/kernels_cpu := -O3 -ffp-contract=fast -fno-math-errno -fno-trapping-math

.DEFAULT_GOAL := lag
.SECONDARY .DELETE_ON_ERROR:
.PHONY: lag deps test test-long asan tsan demo docs bench bench-grow selection docker-check install clean help run-test run-long run-tsan

# Objects of some sources, each in its forms.
objects_of = $(foreach path,$(basename $(1)),$(if $(FORMS_$(path)),$(FORMS_$(path):%=$(BUILD)/$(path).%.o),$(BUILD)/$(path).o))
programs_of = $(patsubst %.c,$(BUILD)/%,$(foreach room,$(ROOMS),$(wildcard tests/$(room)/$(1)_*.c)))
# The room $(1) and all before it, as archives in linking order.
archives_of = $(if $(2),$(if $(filter $(1),$(firstword $(2))),$(2:%=$(BUILD)/lib%.a),$(call archives_of,$(1),$(wordlist 2,9,$(2)))))
link_of = $(call archives_of,$(1),server api study trainer growth model base)
TESTS := $(call programs_of,test)
LONG_TESTS := $(call programs_of,long)
# The programs in which more than one thread runs our code.
TSAN_TESTS := $(filter $(foreach name,server/ trainer/test_pool trainer/test_slice base/test_ahead growth/test_stream,$(BUILD)/tests/$(name)%),$(TESTS))
CHECKS := tools/check_rooms.sh tools/check_sizes.sh tools/check_tables.sh tools/check_docs.sh tools/check_guarantees.sh
# The documents with generated blocks.
DOCUMENTS := README.md docs/api.md docs/growth.md

lag: $(BUILD)/lag                   ## the binary, ./lag (the default)
	cp $< $@
deps:                               ## install the Debian packages that are missing
	@sh tools/deps.sh
test: deps                          ## unit, gradient, API and crash tests: under four minutes on two cores
	@$(MAKE) --no-print-directory -j2 VARIANT=test run-test
test-long: deps                     ## everything slow: at most 40 minutes
	@$(MAKE) --no-print-directory -j2 VARIANT=test run-long
asan: deps                          ## make test's programs under AddressSanitizer, with leak and undefined behaviour checks
	@$(MAKE) --no-print-directory -j2 VARIANT=asan run-test
tsan: deps                          ## the programs that use threads, under ThreadSanitizer
	@$(MAKE) --no-print-directory -j2 VARIANT=tsan run-tsan
demo: deps                          ## train, grow, search and rank on real text, about five minutes
	@$(MAKE) --no-print-directory -j2 lag
	@bash tools/demo.sh
docs: $(BUILD)/tools/docs          ## write the generated parts of the documents anew
	$< $(DOCUMENTS)
bench: lag build/bench_train         ## training steps beside sgemm; BENCH_PYTHON adds PyTorch's rows
	@bash bench/run.sh
bench-grow: lag build/bench_grow    ## grow a model of a billion parameters, beside a copy of as many bytes
	@bash bench/grow.sh
selection: lag                      ## train the suite of growth problems to the end, compare the rules; hours, resumable
	@bash bench/selection/suite.sh; bash bench/selection/tables.sh
docker-check: ; @bash tools/docker_check.sh     ## build the image without an engine, run it, ask it whether it lives
install: lag                        ## install to $(DESTDIR)$(PREFIX)/bin
	install -D -m 755 lag $(DESTDIR)$(PREFIX)/bin/lag
clean: ; rm -rf build lag           ## remove what was built
help:                               ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 16

RUN_TESTS = @LAG_BINARY=$(BUILD)/lag bash tools/run_tests.sh $(BUILD)/logs
run-test: $(TESTS) $(BUILD)/lag $(BUILD)/tools/docs
	$(RUN_TESTS) $(CHECKS) $(TESTS)
run-long: export LIMIT := 2400
run-long: $(LONG_TESTS) $(BUILD)/lag
	$(RUN_TESTS) $(LONG_TESTS)
run-tsan: $(TSAN_TESTS) $(BUILD)/lag
	$(RUN_TESTS) $(TSAN_TESTS)

$(BUILD)/%.o: %.c
	$(COMPILE)
define FORM_RULE
$(BUILD)/%.$(1).o: %.c
	$$(COMPILE) $(FORM_FLAGS_$(1)) -DLAG_FORM=$(1)
endef
define ROOM_RULES
$(BUILD)/lib$(1).a: $(call objects_of,$(filter-out server/main.c,$(wildcard $(1)/*.c)))
$(BUILD)/tests/$(1)/%: $(BUILD)/tests/$(1)/%.o $(BUILD)/libsupport.a $(call link_of,$(1))
	$$(LINK) -lcmocka -lcurl $$(LIBS)
endef
$(foreach form,$(FORMS),$(eval $(call FORM_RULE,$(form))))
$(foreach room,$(ROOMS),$(eval $(call ROOM_RULES,$(room))))
$(BUILD)/libsupport.a: $(call objects_of,$(wildcard tests/support/*.c))
$(BUILD)/lib%.a:
	@rm -f $@ && ar rcs $@ $^
$(BUILD)/lag: $(BUILD)/server/main.o $(call link_of,server)
	$(LINK) $(LIBS)
$(BUILD)/tools/docs: $(call objects_of,$(wildcard tools/docs*.c)) $(call link_of,server)
	$(LINK) $(LIBS)
build/bench_%: $(BUILD)/bench/bench_%.o $(call objects_of,$(filter-out bench/bench_%,$(wildcard bench/*.c))) $(call link_of,trainer)
	$(LINK) $(LIBS)
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
