package hook

import (
	"fmt"
	"strings"

	"mintmark/internal/pattern"
)

// Place is the account and region that a function runs in.
type Place struct {
	Account string // 12 digits
	Region  string
}

var (
	accountPattern  = pattern.New(`^[0-9]{12}$`)
	regionPattern   = pattern.New(`^[a-z]{2}(-[a-z]+)+-[0-9]+$`)
	templatePattern = pattern.New(`^[0-9A-Za-z_-]{1,36}$`)
)

// maxARN bounds the names of resources.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html
const maxARN = 2048

// ParsePlace reads account and region from a function's ARN, which Lambda gives
// with each event.
func ParsePlace(arn string) (Place, error) {
	place, _, err := parseARN(arn, "lambda")
	return place, err
}

// parseARN splits arn:<partition>:<service>:<region>:<account>:<resource>.
func parseARN(arn, service string) (Place, string, error) {
	if len(arn) > maxARN {
		return Place{}, "", fmt.Errorf("ARN is %d bytes long, more than %d", len(arn), maxARN)
	}
	f := strings.SplitN(arn, ":", 6)
	if len(f) != 6 || f[0] != "arn" || !strings.HasPrefix(f[1], "aws") || f[2] != service || !regionPattern.MatchString(f[3]) || !accountPattern.MatchString(f[4]) || f[5] == "" {
		return Place{}, "", fmt.Errorf("%q is no ARN of %s in a region of an account", cut(arn), service)
	}
	return Place{Account: f[4], Region: f[3]}, f[5], nil
}

// template is the name in the ARN of a provisioning template of this place.
func (p Place) template(arn string) (string, error) {
	place, resource, err := parseARN(arn, "iot")
	if err != nil {
		return "", err
	}
	name, ok := strings.CutPrefix(resource, "provisioningtemplate/")
	switch {
	case place != p:
		return "", fmt.Errorf("%q is in account %s, region %s, and this function in account %s, region %s", cut(arn), place.Account, place.Region, p.Account, p.Region)
	case !ok || !templatePattern.MatchString(name):
		return "", fmt.Errorf("%q names no provisioning template", cut(arn))
	}
	return name, nil
}
