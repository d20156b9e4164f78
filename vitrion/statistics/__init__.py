"""From tables to tables: replicas, Arrhenius fits, differences between compositions."""
