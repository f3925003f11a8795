package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/connectors"
	"github.com/opdomain/opdomain/connectors/file"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/query"
)

func (a *app) sourceCommand() *cobra.Command {
	var path string
	register := verb("register", "Register a dataset described in a JSON file (登记数据资源)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		var d catalog.Dataset
		if err := a.readJSON(path, &d); err != nil {
			return err
		}
		s, err := a.connect()
		if err != nil {
			return err
		}
		got, err := result[catalog.Dataset](s.api.RegisterDataset(c.Context(), d))
		if err != nil {
			return err
		}
		return a.show(got, func(w io.Writer) {
			fmt.Fprintf(w, "registered %s: %d columns, %d bins\n", got.ID, len(got.Columns), len(got.Bins))
		})
	})
	register.Flags().StringVar(&path, "file", "", "JSON description; a shipped map shows the form (opdomain source example)")
	must(register.MarkFlagRequired("file"))
	example := verb("example [MAP]", "Print a shipped map: descriptions, mappings, list and questions", cobra.MaximumNArgs(1), func(_ *cobra.Command, args []string) error {
		name := "district"
		if len(args) == 1 {
			name = args[0]
		}
		if _, err := loadStory(name); err != nil {
			return err
		}
		b, err := shippedMaps.ReadFile("maps/" + name + ".json")
		if err != nil {
			return &sandbox.Error{Op: "source", Kind: sandbox.NotFound, Object: name, Detail: "no shipped map of this name"}
		}
		_, err = a.out.Write(b)
		return err
	})
	return group("source", "Describe a unit's tables (数源登记)", register, example)
}

func (a *app) ingestCommand() *cobra.Command {
	var dataset, table, csv, sheet, mapping, encoding, run, schema string
	send := verb("push", "Push a table to a dataset, sealed: CSV, XLSX, Parquet or Arrow IPC (密封推送)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		if table == "" {
			table = csv
		}
		s, err := a.connect()
		if err != nil {
			return err
		}
		ctx := c.Context()
		info, err := s.domain(ctx)
		if err != nil {
			return err
		}
		d, err := result[catalog.Dataset](s.api.GetDataset(ctx, sandbox.DatasetID(dataset)))
		if err != nil {
			return err
		}
		o := offered{Dataset: d}
		if schema != "" {
			if o, err = a.offer(schema, d); err != nil {
				return err
			}
		}
		var m connectors.Mapping
		if mapping != "" {
			b, err := a.readFile(mapping)
			if err != nil {
				return err
			}
			if m, err = connectors.ParseMapping(mapping, b); err != nil {
				return err
			}
		}
		id := sandbox.RunID(run)
		if id == "" {
			if id, err = a.newRun(); err != nil {
				return err
			}
			fmt.Fprintf(a.err, "run %s\n", id) // said now: a process that is killed says nothing at its end
		}
		rep, err := s.pushOffered(ctx, info, o, id, csvSource(table, o.Dataset, m, file.Options{Encoding: file.Encoding(encoding), Parser: a.files, Sheet: sheet}), nil)
		if err != nil {
			return s.brokenOff(ctx, id, err)
		}
		return a.show(rep, func(w io.Writer) {
			fmt.Fprintf(w, "committed %s version %d: %d rows (run %s)\n", rep.Dataset, rep.Version, rep.Rows, rep.Run)
			for _, f := range rep.Findings {
				if f.Finding != "" {
					fmt.Fprintf(w, "  %s looks like %s: grade %d\n", f.Column, f.Finding, f.Grade)
				}
			}
			printDrift(w, o, rep)
		})
	})
	f := send.Flags()
	f.StringVar(&dataset, "dataset", "", "dataset to push to")
	f.StringVar(&table, "file", "", "the table, by the ending of its name: .xlsx, .parquet, .arrow (.arrows, .feather), each parsed in the jail; any other: CSV")
	f.StringVar(&csv, "csv", "", "the same as --file")
	f.StringVar(&sheet, "sheet", "", "of a workbook; default: the first one that is shown")
	f.StringVar(&mapping, "mapping", "", "mapping file: {\"columns\": {column: {\"from\": header}}, \"where\": {header: value}}")
	f.StringVar(&encoding, "encoding", "", "of CSV: utf-8 or gb18030; default: detected")
	f.StringVar(&run, "run", "", "id of the run, to go on with one that was broken off; default: a new one")
	f.StringVar(&schema, "schema", "", "the table's own description, or its columns, where they changed: added nullable columns and wider types pass, the rest is held back; default: as registered")
	must(send.MarkFlagRequired("dataset"))
	send.MarkFlagsOneRequired("file", "csv")
	send.MarkFlagsMutuallyExclusive("file", "csv")
	status := verb("show RUN", "Show where a push stands: state, durable batches and their digest, report", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
		return get(a, func(s *session) (api.Push, error) {
			return result[api.Push](s.api.GetPush(c.Context(), sandbox.RunID(args[0])))
		}, nil)
	})
	open := verb("list", "List the runs that are open: a unit's own, or all for the agency", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		return get(a, func(s *session) ([]api.Push, error) { return result[[]api.Push](s.api.ListPushes(c.Context())) }, func(w io.Writer, all []api.Push) {
			for _, p := range all {
				fmt.Fprintf(w, "%-28s %s\n", p.Run, p.Dataset)
			}
			fmt.Fprintf(w, "%d open 待续传\n", len(all))
		})
	})
	abandon := verb("abandon RUN", "End an open run and keep nothing of it; its unit and the agency may (放弃推送)", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
		return get(a, func(s *session) (api.Push, error) {
			return result[api.Push](s.api.AbandonPush(c.Context(), sandbox.RunID(args[0])))
		}, func(w io.Writer, p api.Push) {
			fmt.Fprintf(w, "abandoned %s of %s: nothing of it was kept\n", p.Run, p.Dataset)
		})
	})
	held := verb("quarantine", "List the pushes held back because their schema drifted (隔离记录)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		return get(a, func(s *session) ([]api.Quarantine, error) {
			return result[[]api.Quarantine](s.api.ListQuarantine(c.Context()))
		}, func(w io.Writer, all []api.Quarantine) {
			for _, q := range all {
				fmt.Fprintf(w, "%s  %-24s %-20s %s\n", q.At.Format("2006-01-02 15:04:05"), q.Run, q.Dataset, q.Reason)
			}
			fmt.Fprintf(w, "%d held back 隔离\n", len(all))
		})
	})
	return group("ingest", "Push data into the domain (数据汇聚)", send, status, open, abandon, held)
}

// checkErasure reads the certificate of an erasure and checks the domain's signature on it.
func checkErasure(certificate, domain []byte) (keys.Erasure, error) {
	var e keys.Erasure
	key, err := sm.ParseVerifyKey(domain)
	if err != nil {
		return e, err
	}
	if err := json.Unmarshal(certificate, &e); err != nil {
		return e, &sandbox.Error{Op: "erase", Kind: sandbox.Invalid, Object: "certificate", Detail: "not what a domain signs"}
	}
	return e, e.Verify(key)
}

// csvSource opens a table, as often as a push reads it.
func csvSource(path string, d catalog.Dataset, m connectors.Mapping, o file.Options) func(context.Context) (connectors.Source, error) {
	return func(ctx context.Context) (connectors.Source, error) {
		src, err := file.Open(ctx, allocator(), path, d, m, o)
		if err != nil {
			return nil, err
		}
		return surplus{src}, nil
	}
}

// get connects, fetches and shows.
func get[T any](a *app, fetch func(s *session) (T, error), text func(w io.Writer, v T)) error {
	s, err := a.connect()
	if err != nil {
		return err
	}
	v, err := fetch(s)
	if err != nil {
		return err
	}
	if text == nil {
		return a.show(v, nil)
	}
	return a.show(v, func(w io.Writer) { text(w, v) })
}

func (a *app) catalogCommand() *cobra.Command {
	stale := verb("stale", "List the datasets behind their update frequency (更新逾期)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		return get(a, func(s *session) ([]api.Overdue, error) { return result[[]api.Overdue](s.api.ListOverdue(c.Context())) },
			func(w io.Writer, all []api.Overdue) {
				for _, o := range all {
					fmt.Fprintf(w, "%-20s %-18s %-10s due %s\n", o.Dataset, o.Unit, o.Frequency, o.Due.Format("2006-01-02 15:04"))
				}
				fmt.Fprintf(w, "%d overdue 逾期\n", len(all))
			})
	})
	var version uint64
	var reason string
	var current bool
	erase := verb("erase DATASET", "Destroy the key of one version for good, remove its files and print the signed certificate (版本销毁)", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
		s, err := a.connect()
		if err != nil {
			return err
		}
		r, err := result[api.ErasureReport](s.api.EraseVersion(c.Context(), sandbox.DatasetID(args[0]), version, api.ErasureRequest{Reason: reason, Current: current}))
		if err != nil {
			return err
		}
		info, err := s.domain(c.Context())
		if err != nil {
			return err
		}
		e, err := checkErasure(r.Certificate, info.SignKey)
		if err != nil {
			return err
		}
		return a.show(r, func(w io.Writer) {
			fmt.Fprintf(w, "%s version %d: key %s destroyed, %d files removed\n", r.Dataset, r.Version, e.Key, r.Files)
			fmt.Fprintf(w, "  proves 证明 %s (%s, %s)\n", e.Proves, e.Driver, e.Mechanism)
			for _, x := range e.Remains {
				fmt.Fprintf(w, "  out of reach 未覆盖 %s\n", x)
			}
		})
	})
	erase.Flags().Uint64Var(&version, "version", 0, "version to erase")
	erase.Flags().StringVar(&reason, "reason", "", "why, in 1 to 200 characters")
	erase.Flags().BoolVar(&current, "current", false, "the version in use is meant: every question about the dataset is refused from then on")
	must(erase.MarkFlagRequired("version"))
	must(erase.MarkFlagRequired("reason"))
	list := verb("list", "List the datasets (数据目录)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		return get(a, func(s *session) ([]catalog.Dataset, error) {
			return result[[]catalog.Dataset](s.api.ListDatasets(c.Context()))
		},
			func(w io.Writer, all []catalog.Dataset) {
				if len(all) == 0 {
					fmt.Fprintln(w, "no datasets 尚无数据资源: a unit registers one with opdomain source register")
				}
				for _, d := range all {
					fmt.Fprintf(w, "%-20s %-18s v%-4d %10d rows  %-10s %s\n", d.ID, d.Unit, d.Version, d.Rows, d.Frequency, d.Title)
				}
			})
	})
	one := verb("show DATASET", "Describe one dataset: columns, grades, bins", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
		return get(a, func(s *session) (catalog.Dataset, error) {
			return result[catalog.Dataset](s.api.GetDataset(c.Context(), sandbox.DatasetID(args[0])))
		}, func(w io.Writer, d catalog.Dataset) {
			fmt.Fprintf(w, "%s  %s  owner %s, %s, version %d, %d rows\n", d.ID, d.Title, d.Unit, d.Frequency, d.Version, d.Rows)
			for _, c := range d.Columns {
				note := ""
				if c.Personal {
					note += " personal"
				}
				if c.Public {
					note += " public"
				}
				if c.Finding != "" {
					note += " detected=" + c.Finding
				}
				fmt.Fprintf(w, "  %-16s %-7s grade %d%s  %s\n", c.Name, c.Type, c.Effective(), note, c.Title)
			}
			for _, b := range d.Bins {
				fmt.Fprintf(w, "  bin %-12s of %s (%s)  %s\n", b.ID, b.Column, b.Kind, b.Title)
				if l := binLabels(d, b); l != "" {
					fmt.Fprintf(w, "      labels 标签: %s\n", l)
				}
			}
		})
	})
	return group("catalog", "Look into the catalogue (数据目录)", list, one, stale, erase, a.searchCommand(), a.seedCommand(), a.entriesCommand(), a.reviseCommand(),
		a.historyCommand(), a.schemasCommand(), a.qualityCommand(), a.conflictsCommand(), a.findingsCommand(), a.confirmCommand(), a.rulesCommand(), a.regradeCommand(),
		a.regradingsCommand(), a.affectedCommand())
}

// binLabels lists what a bin's groups are called in questions and answers, and in which unit their edges are: an amount's are in its
// column's smallest one.
func binLabels(d catalog.Dataset, b catalog.Bin) string {
	labels := b.Labels()
	for _, g := range b.Groups {
		labels = append(labels, g.Label)
	}
	if len(b.Groups) > 0 {
		labels = append(labels, catalog.Other)
	}
	for i, l := range labels {
		labels[i] = "'" + l + "'"
	}
	out := strings.Join(labels, ", ")
	if c, ok := d.Column(b.Column); ok {
		if unit := query.EdgeUnit(c, &b); unit != "" {
			out += " in " + unit
		}
	}
	return out
}
