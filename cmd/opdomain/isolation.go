package main

import (
	"encoding/hex"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/doctor"
	"github.com/opdomain/opdomain/sandbox/jail"
	"github.com/opdomain/opdomain/sandbox/node"
)

// gvisorFlags name the runsc that tier T2 uses. It is never looked for.
type gvisorFlags struct{ path, digest string }

func (g *gvisorFlags) flags(c *cobra.Command) {
	c.Flags().StringVar(&g.path, "gvisor", "", "runsc of gVisor, for plug-ins of tier T2; default: T2 is refused")
	c.Flags().StringVar(&g.digest, "gvisor-sm3", "", "SM3 of that file in hex, as the agency approved it")
	c.MarkFlagsRequiredTogether("gvisor", "gvisor-sm3")
}

func (g gvisorFlags) sentry() (s jail.Sentry, err error) {
	s.Path = g.path
	if g.path == "" {
		return s, nil
	}
	b, err := hex.DecodeString(g.digest)
	if err != nil || len(b) != len(s.Digest) {
		return s, invalid("--gvisor-sm3", fmt.Sprintf("%d bytes in hex", len(s.Digest)), "")
	}
	copy(s.Digest[:], b)
	return s, nil
}

// plugins opens the jail of a served domain; where it cannot be had the domain serves without plug-ins and says so.
func (a *app) plugins(log *slog.Logger, g gvisorFlags) *jail.Launcher {
	s, err := g.sentry()
	var l *jail.Launcher
	if err == nil {
		l, err = jail.New(jail.Config{Sentry: s})
	}
	if err != nil {
		log.Error("plug-ins are refused", slog.String("kind", string(sandbox.KindOf(err))), slog.String("error", err.Error()))
		return nil
	}
	return l
}

// isolationFindings judges what this machine has to confine plug-ins, and what a served domain found when it attacked itself.
func isolationFindings(s *node.Isolation, g gvisorFlags) []doctor.Finding {
	asked := s == nil && g.path != "" || s != nil && slices.ContainsFunc(s.Parts, func(p jail.Part) bool {
		return p.Name == "gvisor" && !strings.HasPrefix(p.Detail, "no runsc is configured")
	})
	if s == nil {
		sentry, err := g.sentry()
		var l *jail.Launcher
		if err == nil {
			l, err = jail.New(jail.Config{Sentry: sentry})
		}
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
	told := []jail.Tier{jail.T1, jail.W} // the others are for pods, or need what few have
	if asked {
		told = append(told, jail.T2)
	}
	for _, t := range told {
		if m := report.Missing(t); len(m) > 0 {
			out = append(out, doctor.Finding{Check: "isolation", Level: doctor.Warn, Detail: fmt.Sprintf("plug-ins of tier %s are refused: %s: %s", t, m[0].Name, m[0].Detail),
				Hint: "questions and Programs on the domain's own engine need no jail"})
		}
	}
	return out
}
