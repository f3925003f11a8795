package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/bill"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/meter"
	"github.com/opdomain/opdomain/sandbox/release"
)

func (a *app) releaseCommand() *cobra.Command {
	list := verb("list", "List your releases (出域记录)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		return get(a, func(s *session) ([]api.ReleaseInfo, error) {
			return result[[]api.ReleaseInfo](s.api.ListReleases(c.Context()))
		},
			func(w io.Writer, all []api.ReleaseInfo) {
				for _, r := range all {
					fmt.Fprintf(w, "%s  class %s of %s for %s until %s\n", r.ID, r.Class, r.Question, r.Recipient, r.Expires.Format("2006-01-02"))
				}
			})
	})
	var out string
	fetch := verb("fetch RELEASE", "Fetch a sealed envelope", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
		s, err := a.connect()
		if err != nil {
			return err
		}
		b, err := body(s.api.GetRelease(c.Context(), sandbox.ReleaseID(args[0])))
		if err != nil {
			return err
		}
		return a.write(out, append(compact(b), '\n'))
	})
	fetch.Flags().StringVar(&out, "out", "-", "file to write, - for standard output")
	var in, key, csv string
	open := verb("open [RELEASE]", "Fetch a release, or take an envelope file with --in, and open it with your identity's key (打开密封结果)", cobra.MaximumNArgs(1), func(c *cobra.Command, args []string) error {
		if (in == "") == (len(args) == 0) {
			return usageError{invalid("release open", "a release or --in FILE, not both", "opdomain release list")}
		}
		s, err := a.connect()
		if err != nil {
			return err
		}
		var b []byte
		if in != "" {
			b, err = a.readFile(in)
		} else {
			b, err = body(s.api.GetRelease(c.Context(), sandbox.ReleaseID(args[0])))
		}
		if err != nil {
			return err
		}
		domain, err := a.domainKey(c, s, key)
		if err != nil {
			return err
		}
		plain, err := openEnvelope(s.id, compact(b), domain, s)
		if err != nil {
			return err
		}
		env, err := release.Decode(compact(b))
		if err != nil {
			return err
		}
		if env.Class == sandbox.ClassA && !a.json && csv == "-" {
			res, err := egress.DecodeResult(plain)
			if err != nil {
				return err
			}
			printTable(a.out, res, 0)
			return nil
		}
		if env.Class == sandbox.ClassE && !a.json {
			d, err := egress.DecodeDataset(plain)
			if err != nil {
				return err
			}
			return a.write(csv, []byte(d.CSV))
		}
		if csv != "-" {
			return usageError{invalid("--out", "a file is written for a data set of class E only, without --json", "opdomain release open "+string(env.Release))}
		}
		if env.Class == sandbox.ClassF && !a.json {
			printChart(a.out, plain)
			return nil
		}
		if env.Class == sandbox.ClassD && !a.json {
			printModel(a.out, plain)
			return nil
		}
		return a.show(json.RawMessage(plain), nil) // numbers as they are: 64 bits, not a float's 53
	})
	open.Flags().StringVar(&csv, "out", "-", "file for the CSV of a data set (class E), - for standard output")
	open.Flags().StringVar(&in, "in", "", "envelope file, - for standard input")
	open.Flags().StringVar(&key, "key", "", "file with the domain's signing key in hex (opdomain evidence key); default: ask the domain")
	return group("release", "Results that left (出域)", list, fetch, open)
}

// domainKey reads the domain's signing key from a file, or asks the domain.
func (a *app) domainKey(c *cobra.Command, s *session, path string) ([]byte, error) {
	if path == "" {
		info, err := s.domain(c.Context())
		return info.SignKey, err
	}
	b, err := a.readFile(path)
	if err != nil {
		return nil, err
	}
	for len(b) > 0 && (b[len(b)-1] == '\n' || b[len(b)-1] == '\r' || b[len(b)-1] == ' ') {
		b = b[:len(b)-1]
	}
	key, err := hex.DecodeString(string(b))
	if err == nil {
		_, err = sm.ParseVerifyKey(key)
	}
	if err != nil {
		return nil, invalid(path, "a signing key is 65 bytes in hex", "opdomain evidence key")
	}
	return key, nil
}

func (a *app) write(path string, b []byte) error {
	if path == "-" || path == "" {
		_, err := a.out.Write(b)
		return err
	}
	return a.writeFile("write", path, func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	})
}

func (a *app) meterCommand() *cobra.Command {
	var month string
	usage := verb("usage", "List metered use of a month (用量)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		if month == "" {
			month = meter.Month(a.now())
		}
		return get(a, func(s *session) ([]meter.Event, error) {
			return result[[]meter.Event](s.api.ListUsage(c.Context(), &api.ListUsageParams{Month: month}))
		}, func(w io.Writer, all []meter.Event) {
			for _, e := range all {
				fmt.Fprintf(w, "%s  %-10s %-20s %d  %s\n", e.At.Format("2006-01-02 15:04:05"), e.Party, e.Product, e.Quantity, e.Question)
			}
		})
	})
	usage.Flags().StringVar(&month, "month", "", "2006-01 in Asia/Shanghai; default: this month")
	return group("meter", "Metered use (计量)", usage)
}

func (a *app) billCommand() *cobra.Command {
	printInvoice := func(w io.Writer, i bill.Invoice) {
		fmt.Fprintf(w, "%s  %s %s, price book %s\n", i.ID, i.Party, i.Month, i.PriceBook)
		for _, l := range i.Lines {
			fmt.Fprintf(w, "  %-24s %d × %s = %s\n", l.Title, l.Quantity, l.UnitPrice, l.Amount)
		}
		fmt.Fprintf(w, "  total 合计 %s\n", i.Total)
		for _, s := range i.Shares {
			credit := ""
			if s.Credit {
				credit = " (service credit 服务抵扣)"
			}
			fmt.Fprintf(w, "  share %-9s %s%s\n", s.Role, s.Amount, credit)
		}
	}
	var r api.InvoiceRequest
	var party string
	issue := verb("issue", "Bill what a party used and no invoice holds yet (开账)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		r.Party = sandbox.PartyID(party)
		if r.Month == "" {
			r.Month = meter.Month(a.now())
		}
		return get(a, func(s *session) (bill.Invoice, error) {
			return result[bill.Invoice](s.api.IssueInvoice(c.Context(), r))
		}, printInvoice)
	})
	issue.Flags().StringVar(&party, "party", "", "party to bill")
	issue.Flags().StringVar(&r.Month, "month", "", "2006-01 in Asia/Shanghai; default: this month")
	must(issue.MarkFlagRequired("party"))
	list := verb("list", "List invoices", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		return get(a, func(s *session) ([]bill.Invoice, error) {
			return result[[]bill.Invoice](s.api.ListInvoices(c.Context()))
		},
			func(w io.Writer, all []bill.Invoice) {
				for _, i := range all {
					printInvoice(w, i)
				}
			})
	})
	one := verb("show INVOICE", "Show one invoice", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
		return get(a, func(s *session) (bill.Invoice, error) {
			return result[bill.Invoice](s.api.GetInvoice(c.Context(), sandbox.InvoiceID(args[0])))
		}, printInvoice)
	})
	return group("bill", "Invoices (账单)", issue, list, one)
}
