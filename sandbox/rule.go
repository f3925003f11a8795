package sandbox

// Use (使用方式) is one way a question may use a column.
type Use string

const (
	UseJoin      Use = "join"      // 关联: equate it with another column, hidden
	UseGroup     Use = "group"     // 分组: group by it through a registered bin, or itself if public
	UseFilter    Use = "filter"    // 筛选: by registered bin label or by equality on public values
	UseAggregate Use = "aggregate" // 聚合: inside the listed functions
	UseConsent   Use = "consent"   // 单一主体: in the answer about one consenting subject
)

// ColumnRule (字段使用规则) is what one scenario may do with one column, agreed by the column's owner.
// 依据: 龙华区实施方案 三(三) 一场景一清单一授权.
type ColumnRule struct {
	Column string        `json:"column"`
	Uses   []Use         `json:"uses"`
	Funcs  []MeasureFunc `json:"funcs,omitempty"` // for UseAggregate
}

// Allows says whether the rule names use.
func (r ColumnRule) Allows(use Use) bool {
	for _, u := range r.Uses {
		if u == use {
			return true
		}
	}
	return false
}

// ListItem (数据清单条目) is one dataset of a scenario's data list with its column rules; a column not named is refused.
type ListItem struct {
	Dataset DatasetID    `json:"dataset"`
	Columns []ColumnRule `json:"columns"`
}

// Rule finds the rule of a column.
func (l ListItem) Rule(column string) (ColumnRule, bool) {
	for _, r := range l.Columns {
		if r.Column == column {
			return r, true
		}
	}
	return ColumnRule{}, false
}
