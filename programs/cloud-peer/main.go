// cloud-peer stands in for KubeEdge's cloudcore, and for its edgecore, where the real ones are not to be had: in the
// check that tries edgecore on an emulated board, and in the trial of that check.
//
//	cloud-peer prepare DIR    make an authority, and DIR/token to join with
//	cloud-peer serve DIR      answer as cloudcore does: certificates at 127.0.0.1:10002, edgecore at 127.0.0.1:10000
//	cloud-peer join FILE      do what edgecore does with that edgecore.yaml, as far as a cloud can tell
//	cloud-peer self-test      let the one join the other
//
// Called edgecore, it takes edgecore's --config FILE and --version instead.
//
// What passes between the two was read in KubeEdge's sources: edge/pkg/edgehub (certificate, clients/wsclient) and
// cloud/pkg/cloudhub/servers (httpserver, wsserver). It goes as far as the first messages of edgecore; none is answered,
// as cloudcore does not answer them either.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

const usage = "usage: cloud-peer prepare DIR | serve DIR | join EDGECORE.YAML | self-test | --version"

// Set by the build.
var version = "unknown"

func main() {
	args := os.Args[1:]
	if filepath.Base(os.Args[0]) == "edgecore" {
		args = asEdgecore(args)
	}
	if err := run(args); err != nil {
		fmt.Fprintln(os.Stderr, "cloud-peer:", err)
		os.Exit(1)
	}
}

// asEdgecore turns a command line of edgecore's into one of ours.
func asEdgecore(args []string) []string {
	if len(args) == 2 && args[0] == "--config" {
		return []string{"join", args[1]}
	}
	return args
}

func run(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "prepare":
		return prepare(args[1])
	case len(args) == 2 && args[0] == "serve":
		return serveForEver(args[1])
	case len(args) == 2 && args[0] == "join":
		return joinForEver(args[1])
	case len(args) == 1 && args[0] == "self-test":
		return selfTest()
	case len(args) == 1 && args[0] == "--version":
		fmt.Println("cloud-peer", version)
		return nil
	}
	return fmt.Errorf("%s", usage)
}
