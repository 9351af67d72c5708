"""The object that turns PCM into codes and codes into PCM, its packs and operating points."""
