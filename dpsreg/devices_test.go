package dpsreg_test

import (
	"errors"

	"mintmark/dpsreg/rest"
)

func isMissing(err error) bool {
	var refused *rest.Error
	return errors.As(err, &refused) && refused.Status == 404
}
