package attest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Report (核验报告) is what VerifyBundle found to hold.
type Report struct {
	Domain      string         `json:"domain"`
	Audience    string         `json:"audience"`
	Fingerprint string         `json:"fingerprint"` // of the domain's signing key: compare it with the one you know
	Entries     uint64         `json:"entries"`
	Hidden      int            `json:"hidden"`
	From        time.Time      `json:"from,omitzero"` // of the first event in sight
	To          time.Time      `json:"to,omitzero"`   // of the last one
	Events      map[Kind]int   `json:"events"`
	Checks      map[string]int `json:"checks"`
	NotChecked  map[string]int `json:"not_checked,omitempty"` // hidden entries would be needed
	Checkpoint  string         `json:"checkpoint"`
	Witnessed   Witnessing     `json:"witnessed"` // how far the first entries have been seen by others
}

func (c *checker) report() Report {
	return Report{Domain: c.head.Domain, Audience: c.head.Audience, Fingerprint: c.domain.Fingerprint(), Entries: c.head.Size, Hidden: c.hidden, From: c.first, To: c.last,
		Events: c.counts, Checks: c.checks, NotChecked: c.skipped, Checkpoint: c.head.Checkpoint}
}

// Text prints the report for people.
func (r Report) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "domain 授权运营域      %s (audience 受众: %s)\n", r.Domain, r.Audience)
	fmt.Fprintf(&b, "signing key 签名公钥   SM3 %s\n", r.Fingerprint)
	fmt.Fprintf(&b, "entries 存证条目       %d, of which hidden 其中隐藏 %d\n", r.Entries, r.Hidden)
	if !r.From.IsZero() {
		fmt.Fprintf(&b, "time 时间              %s to %s\n", r.From.Format(time.DateTime), r.To.Format("2006-01-02 15:04:05 UTC"))
	}
	b.WriteString(r.Witnessed.text(r.Entries))
	b.WriteString("checks that held 已核验\n")
	for _, k := range slices.Sorted(maps.Keys(r.Checks)) {
		fmt.Fprintf(&b, "  %-22s %d\n", k, r.Checks[k])
	}
	for _, k := range slices.Sorted(maps.Keys(r.NotChecked)) {
		fmt.Fprintf(&b, "  %-22s %d not checked: hidden 未核验: 条目隐藏\n", k, r.NotChecked[k])
	}
	return b.String()
}
