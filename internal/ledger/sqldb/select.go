package sqldb

import (
	"context"
	"fmt"
	"strings"
)

// conditions gathers what a query asks for.
type conditions struct {
	where []string
	args  []any
}

// and adds a condition that ends where its value goes.
func (c *conditions) and(condition string, value any) {
	c.where = append(c.where, condition+" "+c.value(value))
}

// value adds a value and returns what stands for it.
func (c *conditions) value(value any) string {
	c.args = append(c.args, value)
	return fmt.Sprintf("$%d", len(c.args))
}

// text is the WHERE clause.
func (c *conditions) text() string {
	if len(c.where) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(c.where, " AND ")
}

// limit is the LIMIT clause for what a caller asked for.
func (c *conditions) limit(asked int) string { return " LIMIT " + c.value(pageSize(asked)) }

// pageSize is the number of records of a page: at most 1000, 100 by default.
func pageSize(asked int) int {
	if asked <= 0 {
		return 100
	}
	return min(asked, 1000)
}

// list reads all rows of a query.
func list[T any](ctx context.Context, s *Store, what string, scan func(row) (T, error), text string, args []any) ([]T, error) {
	rows, err := s.readers.QueryContext(ctx, text, args...)
	if noText(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		value, err := scan(rows)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
		all = append(all, value)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return all, nil
}
