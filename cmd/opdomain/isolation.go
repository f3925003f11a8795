package main

import (
	"fmt"
	"log/slog"
	"strings"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/doctor"
	"github.com/opdomain/opdomain/sandbox/jail"
	"github.com/opdomain/opdomain/sandbox/node"
)

// plugins opens the jail of a served domain; where it cannot be had the domain serves without plug-ins and says so.
func (a *app) plugins(log *slog.Logger) *jail.Launcher {
	l, err := jail.New(jail.Config{})
	if err != nil {
		log.Error("plug-ins are refused", slog.String("kind", string(sandbox.KindOf(err))), slog.String("error", err.Error()))
		return nil
	}
	return l
}

// isolationFindings judges what this machine has to confine plug-ins, and what a served domain found when it attacked itself.
func isolationFindings(s *node.Isolation) []doctor.Finding {
	if s == nil {
		l, err := jail.New(jail.Config{})
		if err != nil {
			return []doctor.Finding{{Check: "isolation", Level: doctor.Warn, Detail: err.Error(), Hint: hintOf(err)}}
		}
		defer l.Close()
		s = &node.Isolation{Parts: l.Probe().Parts}
		for _, t := range jail.Tiers() {
			if len(l.Probe().Missing(t)) == 0 {
				s.Tiers = append(s.Tiers, t)
			}
		}
	}
	if s.Halted != "" {
		return []doctor.Finding{{Check: "isolation", Level: doctor.Fail, Detail: s.Halted, Hint: "no plug-in starts until the machine is repaired and the domain started again"}}
	}
	var out []doctor.Finding
	var tiers []string
	for _, t := range s.Tiers {
		tiers = append(tiers, string(t))
	}
	if len(tiers) > 0 {
		detail := "tiers " + strings.Join(tiers, ", ")
		if s.Attacks > 0 {
			detail += fmt.Sprintf("; %d attacks from inside failed at %s", s.Attacks, s.Tried.Format("2006-01-02T15:04:05Z"))
		}
		out = append(out, doctor.Finding{Check: "isolation", Level: doctor.OK, Detail: detail})
	}
	report := jail.Report{Parts: s.Parts}
	for _, t := range []jail.Tier{jail.T1, jail.W} { // the others are for pods, or need what few have
		if m := report.Missing(t); len(m) > 0 {
			out = append(out, doctor.Finding{Check: "isolation", Level: doctor.Warn, Detail: fmt.Sprintf("plug-ins of tier %s are refused: %s: %s", t, m[0].Name, m[0].Detail),
				Hint: "questions and Programs on the domain's own engine need no jail"})
		}
	}
	return out
}
