"""The command line. Only here is the environment read (JAXPAGED_*), and only here do imports wait for their use."""
