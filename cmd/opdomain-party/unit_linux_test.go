package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/opdomain/opdomain/mpc/psi"
	"github.com/opdomain/opdomain/mpc/psi/lookup"
	"github.com/opdomain/opdomain/mpc/psi/session"
	"github.com/opdomain/opdomain/sandbox/sandboxtest"
)

// underUnit makes this test's binary the program under a unit's filter of calls.
const underUnit = "OPDOMAIN_PARTY_TEST_FILTER"

// confined puts the process under the filter and begins anew as the program.
func confined(names string) error {
	if err := os.Unsetenv(underUnit); err != nil {
		return err
	}
	if err := sandboxtest.UnderFilter(strings.Fields(names)); err != nil {
		return err
	}
	return syscall.Exec(os.Args[0], os.Args, append(os.Environ(), asProgram+"=1"))
}

const units = "../../deploy/systemd/"

// partyUnits are those of this program, with the verb that each runs.
var partyUnits = map[string]string{"opdomain-party@.service": "run", "opdomain-psi@.service": "psi run", "opdomain-lookup@.service": "lookup serve"}

// TestUnits: a party's units keep away from the program whatever it does not need, and the service manager takes them.
func TestUnits(t *testing.T) {
	tool, absent := exec.LookPath("systemd-analyze")
	for unit, verb := range partyUnits {
		u := sandboxtest.Unit(t, units+unit)
		for k, want := range map[string]string{"User": "opdomain-party", "Environment": "FORCE_SM4BLOCK_AESNI=1", "StateDirectory": "opdomain-party", "StateDirectoryMode": "0700", "NoNewPrivileges": "yes", "CapabilityBoundingSet": "", "AmbientCapabilities": "",
			"RestrictAddressFamilies": "AF_INET AF_INET6", "ProtectSystem": "strict", "ProtectHome": "yes", "PrivateTmp": "yes", "PrivateDevices": "yes", "ProtectHostname": "yes", "ProtectClock": "yes",
			"ProtectKernelTunables": "yes", "ProtectKernelModules": "yes", "ProtectKernelLogs": "yes", "ProtectControlGroups": "yes", "ProtectProc": "invisible", "ProcSubset": "pid", "RemoveIPC": "yes",
			"RestrictNamespaces": "yes", "RestrictRealtime": "yes", "RestrictSUIDSGID": "yes", "LockPersonality": "yes", "MemoryDenyWriteExecute": "yes", "SystemCallArchitectures": "native",
			"LimitCORE": "0", "MemorySwapMax": "0", "UMask": "0077"} {
			if len(u[k]) != 1 || u[k][0] != want {
				t.Errorf("%s: %s is %q, wanted %q", unit, k, u[k], want)
			}
		}
		if len(u["ExecStart"]) != 1 || !strings.HasPrefix(u["ExecStart"][0], "/usr/local/bin/opdomain-party "+verb+" --passphrase-file ${CREDENTIALS_DIRECTORY}/passphrase ") || !strings.HasSuffix(u["ExecStart"][0], " $RUN") {
			t.Errorf("%s runs %q", unit, u["ExecStart"])
		}
		if absent != nil {
			continue
		}
		text, err := os.ReadFile(units + unit)
		if err != nil {
			t.Fatal(err)
		}
		self, err := filepath.Abs(os.Args[0]) // the program need not be installed here
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), unit)
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(string(text), "/usr/local/bin/opdomain-party", self)), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(tool, "verify", "--man=no", "--recursive-errors=no", path).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v %s", unit, err, out)
		}
		if out, err := exec.Command(tool, "security", "--no-pager", "--offline=true", "--threshold=20", path).CombinedOutput(); err != nil {
			t.Errorf("%s is open further than 2.0 of 10: %s", unit, out)
		}
	}
	if absent != nil {
		sandboxtest.Missing(t, "no systemd-analyze, which reads units as the service manager does")
	}
}

// unitCalls are what a unit's filter allows, in a line.
func unitCalls(t *testing.T, unit string) string {
	t.Helper()
	allow := sandboxtest.UnitCalls(t, sandboxtest.Unit(t, units+unit))
	for _, c := range []string{"bpf", "reboot", "init_module", "swapon", "chroot", "ptrace", "kexec_load", "setuid", "perf_event_open", "settimeofday", "mount", "sched_setaffinity"} {
		if slices.Contains(allow, c) {
			t.Errorf("%s allows %s", unit, c)
		}
	}
	return strings.Join(allow, " ")
}

// asUnit starts the program by a unit's own command line, under its filter, with the party's folder and credentials in this test's.
func (d *duo) asUnit(unit, id, run string, inherit *os.File) *process {
	d.t.Helper()
	state, job := d.at("state-"+id), d.at("state-"+id+"/job")
	if err := os.MkdirAll(job, 0o700); err != nil {
		d.t.Fatal(err)
	}
	line := sandboxtest.Unit(d.t, units+unit)["ExecStart"][0]
	line = strings.NewReplacer("/var/lib/opdomain-party", state, "%i", "job", "${CREDENTIALS_DIRECTORY}", d.credentials(unit, id), "$RUN", run).Replace(line)
	words := strings.Fields(line)[1:]
	p := &process{cmd: exec.CommandContext(d.t.Context(), os.Args[0], words...)}
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = job, &p.out, &p.errs
	p.cmd.Env = append(os.Environ(), underUnit+"="+unitCalls(d.t, unit), "CREDENTIALS_DIRECTORY="+d.credentials(unit, id))
	if inherit != nil {
		p.cmd.ExtraFiles = []*os.File{inherit}
	}
	if err := p.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	return p
}

// credentials is the folder that a service manager makes of a unit's LoadCredential lines, whose sources are this test's.
func (d *duo) credentials(unit, id string) string {
	d.t.Helper()
	dir := d.at("credentials-" + id)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		d.t.Fatal(err)
	}
	for _, c := range sandboxtest.Unit(d.t, units+unit)["LoadCredential"] {
		name, source, _ := strings.Cut(c, ":")
		from := map[string]string{"/etc/opdomain/party-passphrase": "pass", "/etc/opdomain/psi-ledger-key": "ledger-key-" + id, "/etc/opdomain/lookup-ledger-key": "ledger-key-" + id}[source]
		b, err := os.ReadFile(d.at(from))
		if err != nil {
			d.t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			d.t.Fatal(err)
		}
	}
	return dir
}

// TestUnitsRun: both sides of a set intersection, and the holder of lookups, run by their units' command lines under their units' filters.
func TestUnitsRun(t *testing.T) {
	d := newDuo(t)
	const unit = "opdomain-psi@.service"
	j := d.job(psi.Cardinality, [2]int{100, 200}, d.table([2]int{0, 60}), d.table([2]int{40, 150}))
	j.agree()
	l, address := listener(t)
	f, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var p [2]*process
	for side, id := range []string{"bank", "bureau"} {
		run := fmt.Sprintf("--keys %s --plan %s --party %s --approval %s --table %s --column id --secret secret --out out --certificate certificate", j.at(id), j.at(j.run), id, j.file(side, "approval"), j.tables[side])
		if side == 0 {
			p[side] = d.asUnit(unit, id, run+" --listen fd:3", f)
		} else {
			p[side] = d.asUnit(unit, id, run+" --address "+address, nil)
		}
	}
	for side := range p {
		if said := d.wait(p[side], 0); !strings.Contains(said, "done") {
			t.Error(said)
		}
	}
	b, err := os.ReadFile(d.at("state-bank/job/out"))
	if err != nil || !strings.Contains(string(b), strconv.Quote("cardinality")+": 20") {
		t.Errorf("%v %s", err, b)
	}
	for _, name := range []string{"state-bank/joined/" + j.run, "state-bureau/psi-ledger/0000000000.json"} {
		if _, err := os.Stat(d.at(name)); err != nil {
			t.Error(err)
		}
	}

	look := &session.Lookup{Terms: d.terms, Run: "run-lookup", Suite: lookup.P256, Size: 100, Quota: 16, Days: 30}
	look.Kind = session.KindLookup
	d.write("plan", string(look.Encode()))
	said := d.do(0, "lookup", "plan", "--draft", d.at("plan"))
	_, digest, _ := strings.Cut(strings.TrimSpace(said), "digest (约定摘要): ")
	for _, id := range []string{"bank", "bureau"} {
		d.do(0, "lookup", "approve", "--keys", d.at("owner-"+id), "--passphrase-file", d.at("pass"), "--plan", d.at("plan"), "--party", id, "--digest", digest, "--days", "1", "--out", d.at("approval-"+id))
	}
	serving := d.asUnit("opdomain-lookup@.service", "bank", fmt.Sprintf("--keys %s --plan %s --party bank --approval %s --table %s --column id --listen fd:3", d.at("bank"), d.at("plan"), d.at("approval-bank"), j.tables[0]), f)
	d.do(0, "lookup", "ask", "--keys", d.at("bureau"), "--passphrase-file", d.at("pass"), "--plan", d.at("plan"), "--party", "bureau", "--approval", d.at("approval-bureau"), "--address", address,
		"--elements", d.write("ask", "person-00003\nperson-00199\n"), "--out", d.at("answers"))
	if b, err = os.ReadFile(d.at("answers")); err != nil {
		t.Fatal(err)
	}
	var o struct {
		Found []bool `json:"found"`
	}
	if json.Unmarshal(b, &o) != nil || !slices.Equal(o.Found, []bool{true, false}) {
		t.Errorf("%s", b)
	}
	if err := serving.cmd.Process.Signal(syscall.SIGTERM); err != nil { // as systemctl stop does
		t.Fatal(err)
	}
	d.wait(serving, 0)
}
