// Package deploy holds the CloudFormation templates under aws/, for whatever
// writes them out beside the parameters of a configuration.
package deploy

import "embed"

// AWS is the folder aws.
//
//go:embed aws/*.yaml
var AWS embed.FS
