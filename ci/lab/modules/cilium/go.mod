module zerotrust.lab/cilium

go 1.26.0

require github.com/cilium/cilium v1.18.4

// Cilium's own replacements point at forks that cannot be had as modules;
// the upstream releases that they branch from compile and work.
replace (
	github.com/osrg/gobgp/v3 => github.com/osrg/gobgp/v3 v3.37.0
	k8s.io/apimachinery => k8s.io/apimachinery v0.33.3
)
