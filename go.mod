module github.com/opdomain/opdomain

go 1.26.0

require (
	github.com/RoaringBitmap/roaring/v2 v2.4.5 // who is in a published cell, in sandbox/egress
	github.com/apache/arrow/go/v17 v17.0.0 // record batches of the hot path
	github.com/cloudflare/circl v1.6.2 // threshold shares of the key backup, verifiable; the oblivious function of single lookups, in mpc/psi/lookup
	github.com/cockroachdb/datadriven v1.0.2 // tests only: tables of questions that lawyers can read
	github.com/elastic/go-seccomp-bpf v1.6.0 // tables of system call numbers; its assembler confuses arguments with numbers, so filters are assembled in sandbox/jail
	github.com/emmansun/gmsm v0.44.1 // every SM algorithm, behind attest/sm
	github.com/getkin/kin-openapi v0.140.0 // tests only: holds real answers to openapi.yaml
	github.com/google/differential-privacy/go/v3 v3.0.0 // calibrated Gaussian noise and private selection, in sandbox/egress/noise; go/v4 does not resolve
	github.com/google/flatbuffers v24.3.25+incompatible // reads what headers of Arrow IPC claim before arrow makes room for it, in connectors/file/parse/child
	github.com/hashicorp/go-hclog v1.6.3 // a silent logger for go-plugin, which logs a plug-in's words otherwise
	github.com/hashicorp/go-plugin v1.8.0 // the protocol of plug-ins; the process and its channel are ours, in sandbox/jail
	github.com/miekg/pkcs11 v1.1.1 // keys in a device, in attest/keys/pkcs11
	github.com/oapi-codegen/runtime v1.5.0 // parameter binding of the generated server and client
	github.com/pingcap/tidb/pkg/parser v0.0.0-20250324122243-d51e00e5bbf0 // SQL text to a syntax tree, in sandbox/query/sql
	github.com/pressly/goose/v3 v3.27.0 // embedded migrations of the store
	github.com/prometheus/client_golang v1.24.1 // /metrics
	github.com/rogpeppe/go-internal v1.16.0 // tests only: the command line as scripts (testscript)
	github.com/santhosh-tekuri/jsonschema/v6 v6.0.2 // tests only: holds the examples of a table format to its JSON schema
	github.com/spf13/cobra v1.10.2 // command line
	github.com/tetratelabs/wazero v1.12.0 // wasm modules inside the jail, without cgo
	github.com/tjfoc/gmsm v1.4.1 // TLCP engine behind attest/sm/tlcp; second opinion on every SM algorithm in tests
	github.com/transparency-dev/merkle v0.0.2 // tree arithmetic of the evidence log, with an SM3 hasher
	github.com/tuneinsight/lattigo/v5 v5.0.7 // homomorphic encryption, in mpc/he, in a process of its own; v6 has the same faults
	github.com/xuri/excelize/v2 v2.11.0 // tests only: writes workbooks, and a second reader of them; it takes a broken sheet's end for its end, so files are read by connectors/file/parse/child
	github.com/zeebo/xxh3 v1.0.2 // hashes of rows that are counted for uniqueness
	go.yaml.in/yaml/v3 v3.0.6 // desensitisation plans; kept by the YAML organisation
	golang.org/x/crypto v0.54.0 // Argon2id for passphrases, in attest/keys
	golang.org/x/net v0.57.0 // instructions of socket filters, and a machine for them in tests
	golang.org/x/sync v0.22.0 // columns of a version sealed side by side, bounds of pushes
	golang.org/x/sys v0.47.0 // locks, local sockets' users, what the machine is like
	golang.org/x/term v0.45.0 // passphrase prompt
	golang.org/x/text v0.40.0 // GB18030 and Unicode normal forms of incoming text and of labels that leave
	golang.org/x/time v0.14.0 // token buckets of the interface
	gonum.org/v1/gonum v0.16.0 // Cholesky of model fits, quantiles of their tests, in sandbox/egress/model
	google.golang.org/grpc v1.79.1 // what is spoken with a plug-in over one inherited socket
	google.golang.org/protobuf v1.36.12 // messages of one field between the jail and its own stages
	modernc.org/sqlite v1.46.1 // embedded store without cgo
	pgregory.net/rapid v1.2.0 // tests only: laws over random data
)

require (
	github.com/ALTree/bigfloat v0.0.0-20220102081255-38c8b72a9924 // indirect
	github.com/apapsch/go-jsonmerge/v2 v2.0.0 // indirect
	github.com/beorn7/perks v1.0.1 // indirect
	github.com/bits-and-blooms/bitset v1.12.0 // indirect
	github.com/bwesterb/go-ristretto v1.2.3 // indirect
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/chromedp/cdproto v0.0.0-20250724212937-08a3db8b4327 // indirect
	github.com/chromedp/chromedp v0.14.2 // tests only: the review page in a real browser
	github.com/chromedp/sysutil v1.1.0 // indirect
	github.com/davecgh/go-spew v1.1.1 // indirect
	github.com/dustin/go-humanize v1.0.1 // indirect
	github.com/go-json-experiment/json v0.0.0-20250725192818-e39067aee2d2 // indirect
	github.com/go-openapi/jsonpointer v0.22.5 // indirect
	github.com/go-openapi/swag/jsonname v0.25.5 // indirect
	github.com/gobwas/httphead v0.1.0 // indirect
	github.com/gobwas/pool v0.2.1 // indirect
	github.com/gobwas/ws v1.4.0 // indirect
	github.com/goccy/go-json v0.10.3 // indirect
	github.com/golang/glog v1.2.5 // indirect
	github.com/google/go-cmp v0.7.0 // indirect
	github.com/google/uuid v1.6.0 // indirect
	github.com/inconshreveable/mousetrap v1.1.0 // indirect
	github.com/klauspost/compress v1.19.1 // indirect
	github.com/klauspost/cpuid/v2 v2.2.8 // indirect
	github.com/kr/pretty v0.3.1 // indirect
	github.com/mattn/go-isatty v0.0.20 // indirect
	github.com/mfridman/interpolate v0.0.2 // indirect
	github.com/mschoch/smat v0.2.0 // indirect
	github.com/munnerz/goautoneg v0.0.0-20191010083416-a7dc8b61c822 // indirect
	github.com/ncruces/go-strftime v1.0.0 // indirect
	github.com/oasdiff/yaml v0.1.0 // indirect
	github.com/oasdiff/yaml3 v0.0.13 // indirect
	github.com/pierrec/lz4/v4 v4.1.25 // indirect
	github.com/pingcap/errors v0.11.5-0.20240311024730-e056997136bb // indirect
	github.com/pingcap/failpoint v0.0.0-20240528011301-b51a646c7c86 // indirect
	github.com/pingcap/log v1.1.0 // indirect
	github.com/pmezard/go-difflib v1.0.0 // indirect
	github.com/prometheus/client_model v0.6.2 // indirect
	github.com/prometheus/common v0.70.1 // indirect
	github.com/prometheus/procfs v0.21.1 // indirect
	github.com/remyoudompheng/bigfft v0.0.0-20230129092748-24d4a6f8daec // indirect
	github.com/sethvargo/go-retry v0.3.0 // indirect
	github.com/spf13/pflag v1.0.9 // indirect
	github.com/stretchr/testify v1.11.1 // indirect
	go.uber.org/atomic v1.11.0 // indirect
	go.uber.org/multierr v1.11.0 // indirect
	go.uber.org/zap v1.27.0 // indirect
	golang.org/x/exp v0.0.0-20260218203240-3dfff04db8fa // indirect
	golang.org/x/mod v0.37.0 // indirect
	golang.org/x/telemetry v0.0.0-20260625142307-59b4966ccb57 // indirect
	golang.org/x/tools v0.47.0 // indirect
	golang.org/x/xerrors v0.0.0-20231012003039-104605ab7028 // indirect
	gopkg.in/natefinch/lumberjack.v2 v2.2.1 // indirect
	gopkg.in/yaml.v3 v3.0.1 // indirect
	modernc.org/libc v1.68.0 // indirect
	modernc.org/mathutil v1.7.1 // indirect
	modernc.org/memory v1.11.0 // indirect
)

require (
	github.com/JohnCGriffin/overflow v0.0.0-20211019200055-46fa312c352c // indirect
	github.com/andybalholm/brotli v1.2.0 // indirect
	github.com/apache/thrift v0.20.0 // indirect
	github.com/fatih/color v1.15.0 // indirect
	github.com/golang/protobuf v1.5.4 // indirect
	github.com/golang/snappy v0.0.4 // indirect
	github.com/hashicorp/yamux v0.1.2 // indirect
	github.com/klauspost/asmfmt v1.3.2 // indirect
	github.com/mattn/go-colorable v0.1.14 // indirect
	github.com/minio/asm2plan9s v0.0.0-20200509001527-cdd76441f9d8 // indirect
	github.com/minio/c2goasm v0.0.0-20190812172519-36a3d3bbc4f3 // indirect
	github.com/oklog/run v1.1.0 // indirect
	github.com/richardlehane/mscfb v1.0.7 // indirect
	github.com/richardlehane/msoleps v1.0.6 // indirect
	github.com/tiendc/go-deepcopy v1.7.2 // indirect
	github.com/xuri/efp v0.0.1 // indirect
	github.com/xuri/nfp v0.0.2-0.20250530014748-2ddeb826f9a9 // indirect
	google.golang.org/genproto/googleapis/rpc v0.0.0-20261110000943-09e21b237f2c // indirect
)
