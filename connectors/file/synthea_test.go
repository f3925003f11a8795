package file

import (
	"context"
	"encoding/csv"
	"errors"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/opdomain/opdomain/connectors"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/sandboxtest"
)

// tables gives the folder of real claims.
func tables(t *testing.T) string {
	t.Helper()
	return sandboxtest.Data(t, "synthea", "real claims were not read")
}

// real is one table of the real claims: its description, its mapping and the row count of an independent reading.
type real struct {
	file    string
	dataset catalog.Dataset
	mapping string
	rows    int64
	money   []string // columns whose sum is compared with exact rational arithmetic over the raw text
}

func reals() []real {
	text := func(name string) catalog.Column { return catalog.Column{Name: name, Type: catalog.Text, Grade: 3} }
	may := func(c catalog.Column) catalog.Column { c.Nullable = true; return c }
	return []real{
		{"patients.csv", catalog.Dataset{ID: "ds-patients", Unit: "unit-civil", Frequency: catalog.Daily, Subject: "patient", SubjectKind: catalog.Opaque,
			Columns: []catalog.Column{text("patient"), {Name: "birth_date", Type: catalog.Date, Grade: 2}, {Name: "death_date", Type: catalog.Date, Grade: 2, Nullable: true},
				text("sex"), may(text("zip")), {Name: "expenses", Type: catalog.Money, Grade: 2}, {Name: "coverage", Type: catalog.Money, Grade: 2},
				{Name: "latitude", Type: catalog.Number, Scale: 4, Grade: 3}}},
			`{"columns": {"patient": {"from": "Id"}, "birth_date": {"from": "BIRTHDATE"}, "death_date": {"from": "DEATHDATE"}, "sex": {"from": "GENDER"},
				"zip": {"from": "ZIP"}, "expenses": {"from": "HEALTHCARE_EXPENSES", "round": true}, "coverage": {"from": "HEALTHCARE_COVERAGE", "round": true},
				"latitude": {"from": "LAT", "round": true}}}`, 27, nil},
		{"claims.csv", catalog.Dataset{ID: "ds-claims", Unit: "unit-med", Frequency: catalog.Daily, Subject: "patient", SubjectKind: catalog.Opaque,
			Columns: []catalog.Column{text("claim_no"), text("patient"), text("diagnosis"), may(text("diagnosis2")), {Name: "service_date", Type: catalog.Date, Grade: 2},
				{Name: "type", Type: catalog.Int, Grade: 1}}},
			`{"columns": {"claim_no": {"from": "Id"}, "patient": {"from": "PATIENTID"}, "diagnosis": {"from": "DIAGNOSIS1"}, "diagnosis2": {"from": "DIAGNOSIS2"},
				"service_date": {"from": "SERVICEDATE"}, "type": {"from": "HEALTHCARECLAIMTYPEID1"}}}`, 1267, nil},
		{"claims_transactions.csv", catalog.Dataset{ID: "ds-charges", Unit: "unit-med", Frequency: catalog.Daily, Subject: "patient", SubjectKind: catalog.Opaque,
			Columns: []catalog.Column{text("charge"), text("claim_no"), text("patient"), {Name: "amount", Type: catalog.Money, Grade: 2},
				{Name: "from_date", Type: catalog.Date, Grade: 2}, text("procedure"), {Name: "units", Type: catalog.Int, Grade: 1}}},
			`{"columns": {"charge": {"from": "ID"}, "claim_no": {"from": "CLAIMID"}, "patient": {"from": "PATIENTID"}, "amount": {"from": "AMOUNT"},
				"from_date": {"from": "FROMDATE"}, "procedure": {"from": "PROCEDURECODE"}, "units": {"from": "UNITS"}}, "where": {"TYPE": "CHARGE"}}`,
			1545, []string{"amount"}},
	}
}

func TestRealClaims(t *testing.T) {
	dir := tables(t)
	for _, r := range reals() {
		t.Run(r.file, func(t *testing.T) {
			m, err := connectors.ParseMapping("mapping", []byte(r.mapping))
			if err != nil {
				t.Fatal(err)
			}
			src, err := Open(context.Background(), checked(t), filepath.Join(dir, r.file), r.dataset, m, Options{BatchRows: 100})
			if err != nil {
				t.Fatal(err)
			}
			defer src.Close()
			sums := map[string]int64{}
			for {
				rec, err := src.Next(context.Background())
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				for _, name := range r.money {
					for _, v := range rec.Column(rec.Schema().FieldIndices(name)[0]).(*array.Int64).Int64Values() {
						sums[name] += v
					}
				}
				rec.Release()
			}
			if _, kept := src.Counts(); kept != r.rows {
				t.Errorf("%d rows kept, want %d", kept, r.rows)
			}
			for _, name := range r.money {
				want := plainSum(t, filepath.Join(dir, r.file), m, name)
				if got := new(big.Rat).SetFrac64(sums[name], 100); got.Cmp(want) != 0 {
					t.Errorf("the sum of %s differs from the plain reading", name)
				}
			}
		})
	}
}

// plainSum is the oracle: the whole file, row by row, in rational numbers.
func plainSum(t *testing.T, path string, m connectors.Mapping, column string) *big.Rat {
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	at := map[string]int{}
	for i, h := range all[0] {
		at[h] = i
	}
	sum := new(big.Rat)
rows:
	for _, row := range all[1:] {
		for h, in := range m.Where {
			if row[at[h]] != in[0] {
				continue rows
			}
		}
		v, ok := new(big.Rat).SetString(row[at[m.Field(column).From]])
		if !ok {
			t.Fatal("a field is not a number")
		}
		sum.Add(sum, v)
	}
	return sum
}

// TestRealNoiseIsRefused: amounts such as the real file has them are an error unless the mapping says "round".
func TestRealNoiseIsRefused(t *testing.T) {
	dir := tables(t)
	r := reals()[0]
	m, err := connectors.ParseMapping("mapping", []byte(strings.ReplaceAll(r.mapping, `, "round": true`, "")))
	if err != nil {
		t.Fatal(err)
	}
	src, err := Open(context.Background(), checked(t), filepath.Join(dir, r.file), r.dataset, m, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	_, err = src.Next(context.Background())
	if !errors.Is(err, sandbox.Invalid) || !strings.Contains(err.Error(), "patients.csv line 2 column latitude") && !strings.Contains(err.Error(), "patients.csv line 3 column expenses") {
		t.Errorf("%v", err)
	}
}
