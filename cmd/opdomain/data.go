package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/opdomain/opdomain/connectors"
	"github.com/opdomain/opdomain/connectors/file"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/catalog"
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
	var dataset, csv, mapping, encoding, run string
	send := verb("push", "Push a CSV table to a dataset, sealed (密封推送)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
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
		}
		rep, err := s.push(ctx, info, d, id, csvSource(csv, d, m, file.Options{Encoding: file.Encoding(encoding)}), nil)
		if err != nil {
			return err
		}
		return a.show(rep, func(w io.Writer) {
			fmt.Fprintf(w, "committed %s version %d: %d rows (run %s)\n", rep.Dataset, rep.Version, rep.Rows, rep.Run)
			for _, f := range rep.Findings {
				if f.Finding != "" {
					fmt.Fprintf(w, "  %s looks like %s: grade %d\n", f.Column, f.Finding, f.Grade)
				}
			}
		})
	})
	f := send.Flags()
	f.StringVar(&dataset, "dataset", "", "dataset to push to")
	f.StringVar(&csv, "csv", "", "CSV file")
	f.StringVar(&mapping, "mapping", "", "mapping file: {\"columns\": {column: {\"from\": header}}, \"where\": {header: value}}")
	f.StringVar(&encoding, "encoding", "", "utf-8 or gb18030; default: detected")
	f.StringVar(&run, "run", "", "id of the run, to go on with one that was broken off; default: a new one")
	must(send.MarkFlagRequired("dataset"))
	must(send.MarkFlagRequired("csv"))
	status := verb("show RUN", "Show where a push stands", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
		return get(a, func(s *session) (api.Push, error) {
			return result[api.Push](s.api.GetPush(c.Context(), sandbox.RunID(args[0])))
		}, nil)
	})
	return group("ingest", "Push data into the domain (数据汇聚)", send, status)
}

// csvSource opens a CSV table, as often as a push reads it.
func csvSource(path string, d catalog.Dataset, m connectors.Mapping, o file.Options) func(context.Context) (connectors.Source, error) {
	return func(ctx context.Context) (connectors.Source, error) {
		src, err := file.Open(ctx, allocator(), path, d, m, o)
		if err != nil {
			return nil, err
		}
		return src, nil
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
	list := verb("list", "List the datasets (数据目录)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		return get(a, func(s *session) ([]catalog.Dataset, error) {
			return result[[]catalog.Dataset](s.api.ListDatasets(c.Context()))
		},
			func(w io.Writer, all []catalog.Dataset) {
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
			}
		})
	})
	return group("catalog", "Look into the catalogue (数据目录)", list, one)
}
