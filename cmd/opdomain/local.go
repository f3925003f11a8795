package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/opdomain/opdomain/connectors/file"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// eachRow reads text columns of one of the story's own tables, as the people who hold it could: for finding a patient
// and a value that one person alone has.
func (t *storyTable) eachRow(ctx context.Context, dir string, columns []string, f func(values []string)) error {
	src, err := file.Open(ctx, allocator(), filepath.Join(dir, t.File), t.Dataset, t.Mapping, file.Options{})
	if err != nil {
		return err
	}
	defer src.Close()
	values := make([]string, len(columns))
	for {
		rec, err := src.Next(ctx)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		err = rows(rec, columns, values, f)
		rec.Release()
		if err != nil {
			return err
		}
	}
}

func rows(rec arrow.Record, columns, values []string, f func([]string)) error {
	cols := make([]*array.String, len(columns))
	for i, name := range columns {
		at := rec.Schema().FieldIndices(name)
		if len(at) != 1 {
			return fmt.Errorf("no column %s", name)
		}
		c, ok := rec.Column(at[0]).(*array.String)
		if !ok {
			return invalid(name, "the story reads text columns of its own tables only", "")
		}
		cols[i] = c
	}
	for r := range int(rec.NumRows()) {
		for i, c := range cols {
			values[i] = ""
			if c.IsValid(r) {
				values[i] = string([]byte(c.Value(r))) // the batch is released before the value is
			}
		}
		f(values)
	}
	return nil
}

// person is the patient of the story.
type person struct {
	kind      catalog.SubjectKind
	id, claim string
}

// String keeps the person out of logs.
func (person) String() string { return "person(redacted)" }

// findPatient takes the first claim whose number stands once.
func (s *story) findPatient(ctx context.Context, dir string) (person, error) {
	t, _ := s.dataset(s.Claim.Dataset)
	count := map[string]int{}
	var order []person
	err := t.eachRow(ctx, dir, []string{t.Dataset.Subject, s.Claim.Number}, func(v []string) {
		if v[1] == "" {
			return
		}
		count[v[1]]++
		if len(order) < 1000 {
			order = append(order, person{t.Dataset.SubjectKind, v[0], v[1]})
		}
	})
	if err != nil {
		return person{}, err
	}
	for _, p := range order {
		if count[p.claim] == 1 {
			return p, nil
		}
	}
	return person{}, storyError(s.name, "the claims table has a row with a claim number of its own", "")
}

// findLoner finds a value of the probe column that exactly one person of the scanned table has, and all its values. What
// the story plays here is an asker with outside knowledge.
func (s *story) findLoner(ctx context.Context, dir string) (others []string, err error) {
	t, column, err := s.resolve(s.Probe)
	if err != nil {
		return nil, err
	}
	facts, ok := s.dataset(s.Coarse.Inputs[0].Dataset)
	if !ok {
		return nil, storyError(s.name, "the coarse question scans one of the tables", "")
	}
	active := map[string]bool{}
	if err := facts.eachRow(ctx, dir, []string{facts.Dataset.Subject}, func(v []string) { active[v[0]] = true }); err != nil {
		return nil, err
	}
	people := map[string]map[string]bool{}
	err = t.eachRow(ctx, dir, []string{t.Dataset.Subject, column}, func(v []string) {
		if active[v[0]] && v[1] != "" {
			if people[v[1]] == nil {
				people[v[1]] = map[string]bool{}
			}
			people[v[1]][v[0]] = true
		}
	})
	if err != nil {
		return nil, err
	}
	alone := ""
	for value, who := range people {
		if len(who) == 1 && (alone == "" || value < alone) {
			alone = value
		}
	}
	if alone == "" {
		return nil, storyError(s.name, "the probe column has a value that one person alone has", "name another column as probe")
	}
	return []string{alone}, nil
}
