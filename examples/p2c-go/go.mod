module p2c

go 1.24
