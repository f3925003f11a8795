package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// realData prepares tables that nobody here wrote, and a map of them that lists every measure: the folder of tables and the map's file.
func realData(root, name, work string) (tables, mapped string, err error) {
	mapped = filepath.Join(work, name+"-map.json")
	switch name {
	case "synthea":
		return filepath.Join(root, name), mapped, syntheaMap(mapped)
	case "adult":
		tables = filepath.Join(work, "adult-tables")
		if err = os.Mkdir(tables, 0o700); err == nil {
			err = adultTables(filepath.Join(root, name, "adult.csv"), tables)
		}
		if err == nil {
			var b []byte
			if b, err = os.ReadFile(filepath.Join("testdata", "adult_map.json")); err == nil {
				err = os.WriteFile(mapped, b, 0o600)
			}
		}
		return tables, mapped, err
	}
	return "", "", fmt.Errorf("no data called %s", name)
}

// syntheaMap writes the shipped map with Synthea's encounters beside it, which have several amounts in a row.
func syntheaMap(path string) error {
	b, err := shippedMaps.ReadFile("maps/synthea.json")
	if err != nil {
		return err
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		return err
	}
	var table, item any
	err = errors.Join(json.Unmarshal([]byte(`{
		"role": "encounters", "file": "encounters.csv",
		"mapping": {"columns": {"visit": {"from": "Id"}, "person": {"from": "PATIENT"}, "kind": {"from": "ENCOUNTERCLASS"}, "start": {"from": "START"},
			"base": {"from": "BASE_ENCOUNTER_COST"}, "total": {"from": "TOTAL_CLAIM_COST"}, "covered": {"from": "PAYER_COVERAGE"}}},
		"dataset": {"id": "ds-encounters", "unit": "unit-medical", "title": "就诊记录", "format": "csv", "frequency": "daily", "subject": "person", "subject_kind": "opaque",
			"columns": [
				{"name": "visit", "title": "就诊编号", "type": "text", "range": "就诊系统编号", "grade": 3, "personal": true},
				{"name": "person", "title": "患者标识", "type": "text", "range": "系统编号", "grade": 3, "personal": true},
				{"name": "kind", "title": "就诊类别", "type": "text", "grade": 2, "public": true},
				{"name": "start", "title": "就诊日期", "type": "date", "range": "公历日期", "values": "[1900-01-01,)", "grade": 3, "personal": true},
				{"name": "base", "title": "基础费用", "type": "money", "range": "不为负", "values": "[0,)", "grade": 3, "personal": true, "unit": "元"},
				{"name": "total", "title": "费用总额", "type": "money", "range": "不为负", "values": "[0,)", "grade": 3, "personal": true, "unit": "元"},
				{"name": "covered", "title": "支付金额", "type": "money", "range": "不为负", "values": "[0,)", "grade": 3, "personal": true, "unit": "元"}],
			"bins": [
				{"id": "cost-band", "title": "费用分段", "column": "total", "kind": "amount", "edges": [50000, 200000]},
				{"id": "year", "title": "年份", "column": "start", "kind": "year"}]}}`), &table),
		json.Unmarshal([]byte(`{"dataset": "ds-encounters", "columns": [
			{"column": "person", "uses": ["join"]}, {"column": "kind", "uses": ["group", "filter", "aggregate"], "funcs": ["distinct"]}, {"column": "start", "uses": ["group", "filter"]},
			{"column": "total", "uses": ["group", "filter", "aggregate"], "funcs": ["sum", "mean", "variance", "stddev", "min", "max", "quantile", "histogram", "covariance", "correlation", "ratio", "linear"]},
			{"column": "base", "uses": ["aggregate"], "funcs": ["covariance", "correlation", "ratio", "linear"]},
			{"column": "covered", "uses": ["aggregate"], "funcs": ["sum", "mean", "covariance", "correlation", "ratio", "linear"]}]}`), &item))
	if err != nil {
		return err
	}
	m["tables"], m["list"] = append(m["tables"].([]any), table), append(m["list"].([]any), item)
	if b, err = json.Marshal(m); err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o600)
}

// adultTables makes two tables of the census extract: one row is one person, who gets a number. Years of schooling are those of the
// extract's own coding of its levels.
func adultTables(from, dir string) error {
	years := map[string]int{"Preschool": 1, "1st-4th": 2, "5th-6th": 3, "7th-8th": 4, "9th": 5, "10th": 6, "11th": 7, "12th": 8, "HS-grad": 9, "Some-college": 10,
		"Assoc-voc": 11, "Assoc-acdm": 12, "Bachelors": 13, "Masters": 14, "Prof-school": 15, "Doctorate": 16}
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	var persons, work strings.Builder
	persons.WriteString("person,sex,race,country\n")
	work.WriteString("record,person,age,schooling,class,occupation,high\n")
	lines := bufio.NewScanner(strings.NewReader(string(b)))
	for n := 0; lines.Scan(); n++ {
		f := strings.Split(strings.TrimSpace(lines.Text()), ";")
		if n == 0 || len(f) != 9 {
			continue
		}
		y, ok := years[f[4]]
		if !ok {
			return fmt.Errorf("line %d: a level of schooling that is not coded", n+1)
		}
		fmt.Fprintf(&persons, "p%05d,%s,%s,%s\n", n, f[0], f[2], f[5])
		fmt.Fprintf(&work, "r%05d,p%05d,%s,%d,%s,%s,%v\n", n, n, f[1], y, f[6], f[7], f[8] == ">50K")
	}
	return errors.Join(os.WriteFile(filepath.Join(dir, "persons.csv"), []byte(persons.String()), 0o600),
		os.WriteFile(filepath.Join(dir, "work.csv"), []byte(work.String()), 0o600))
}
