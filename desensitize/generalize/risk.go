package generalize

// Risk (重标识风险) of the published rows; suppressed rows are not published and carry none. A probability is that of naming the
// right person for a row. Without a population the journalist's and the marketer's are those of an attacker who knows that the
// person is in the table, the worst case.
type Risk struct {
	Rows            int64   `json:"rows"`
	Suppressed      int64   `json:"suppressed"`
	SuppressedShare float64 `json:"suppressed_share"`
	Classes         int     `json:"classes"`
	SmallestClass   int64   `json:"smallest_class"` // 0 if all rows are suppressed
	LargestClass    int64   `json:"largest_class"`
	Uniques         int64   `json:"uniques"` // rows alone in their class
	// UniquesBefore counts rows alone in their combination before anything was generalised.
	UniquesBefore     int64   `json:"uniques_before"`
	Prosecutor        float64 `json:"prosecutor"`         // 检察官: knows the person is in the table; highest, 1/smallest class
	ProsecutorAverage float64 `json:"prosecutor_average"` // mean over rows, classes/rows
	AtHighest         float64 `json:"at_highest"`         // share of rows at the highest risk
	Journalist        float64 `json:"journalist"`         // 记者: knows the population; highest, 1/fewest people of a published class
	Marketer          float64 `json:"marketer"`           // 营销者: wants many; expected share of rows named rightly
	Population        bool    `json:"population"`         // whether a population was given
}

func (s *search) riskOf(cl *classes) Risk {
	r := Risk{Rows: s.f.n, Population: cl.pop != nil}
	fewest, expected, atSmallest := int64(0), 0.0, int64(0)
	for i, n := range cl.count {
		if n == 0 {
			continue
		}
		size := int64(n)
		if !s.check.grows(cl, i) || !s.check.rest(cl, i) {
			r.Suppressed += size
			continue
		}
		r.Classes++
		if r.SmallestClass == 0 || size < r.SmallestClass {
			r.SmallestClass, atSmallest = size, 0
		}
		if size == r.SmallestClass {
			atSmallest += size
		}
		r.LargestClass = max(r.LargestClass, size)
		if size == 1 {
			r.Uniques++
		}
		people := size
		if cl.pop != nil {
			people = int64(cl.pop[i])
		}
		if fewest == 0 || people < fewest {
			fewest = people
		}
		expected += float64(size) / float64(people)
	}
	for _, n := range s.f.base.count {
		if n == 1 {
			r.UniquesBefore++
		}
	}
	r.SuppressedShare = float64(r.Suppressed) / float64(r.Rows)
	if kept := float64(r.Rows - r.Suppressed); r.Classes > 0 {
		r.Prosecutor, r.ProsecutorAverage = 1/float64(r.SmallestClass), float64(r.Classes)/kept
		r.AtHighest, r.Journalist, r.Marketer = float64(atSmallest)/kept, 1/float64(fewest), expected/kept
	}
	return r
}
