package adminhttp

import (
	"mintmark/internal/access"
)

// Routes lists all routes of the API with their operations, for tests that must
// not miss one.
func Routes() map[string]access.Operation {
	all := make(map[string]access.Operation)
	for _, r := range (&handler{}).routes() {
		all[r.pattern] = r.operation
	}
	return all
}
